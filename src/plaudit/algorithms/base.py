"""What an algorithm is: it prepares a batch without gradient, and gives unreduced loss terms with it.

Law 1: `prepare` sets the weight of every loss term from data alone. `loss` returns unreduced terms and never divides; the
learner sums the weights over the whole step, divides once, and only then splits the step into micro-batches. So micro-batch
size, padding, packing and the number of ranks cannot change the gradient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch

from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs

Tensor = torch.Tensor
Want = Literal["logp", "entropy", "value", "score", "classes", "steps"]
Stream = Literal["old", "entropy", "value", "ref"]


@dataclass(frozen=True)
class Moments:
    """Weighted sums of a metric over the micro-batches of a step; added up, then divided once."""

    weight: float = 0.0
    total: float = 0.0
    square: float = 0.0
    low: float = float("inf")
    high: float = float("-inf")

    @staticmethod
    def of(x: Tensor, weight: Tensor) -> Moments:
        """Moments of x where weight is positive; the two tensors broadcast."""
        weight = weight.expand_as(x).double()
        x = x.detach().double()
        seen = x[weight > 0]
        if not len(seen):
            return Moments()
        return Moments(
            float(weight.sum()), float((x * weight).sum()), float((x * x * weight).sum()), float(seen.min()), float(seen.max())
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.weight + other.weight,
            self.total + other.total,
            self.square + other.square,
            min(self.low, other.low),
            max(self.high, other.high),
        )

    @property
    def mean(self) -> float:
        return self.total / self.weight if self.weight else float("nan")

    @property
    def variance(self) -> float:
        return max(0.0, self.square / self.weight - self.mean**2) if self.weight else float("nan")


class Algorithm:
    """The contract; the spec, not the trainer, says which networks and passes are needed.

    Config     its options, a `@config` class; `Config.defaults` holds what differs for it in the options that verbs share
    eats       demonstrations | rankings | labels | prompts: what the feed brings
    networks   role -> what its forward pass must give, for example {"policy": {"logp", "entropy"}, "critic": {"value"}};
               the first role is the one that is saved
    reads      streams that a scoring pass without gradient puts into the batch before `prepare`
    reference  whether log-probabilities of the reference are needed (it then reads "ref")
    grouped    whether rows of one group must stay in one micro-batch (pairs, rankings)
    siblings   answers to each prompt that it needs at least
    dropout    whether the adapters' dropout is on while training (never in RL, where it would move the ratio)
    gathers    whether `statistics` must be asked before the losses of an optimiser step
    thumbs     whether of labels only 1 and 0 are understood, no ratings and no classes
    mismatched whether labelled answers also come behind other prompts, as `auxiliary` rows (KTO's estimate of the KL)
    best       the metric that says which evaluation was best, and whether more of it is better
    shown      metrics beside the progress bar
    epochs, mini_batches  optimiser passes over one batch, and optimiser steps in each pass
    gen_batches  rounds in which a step may sample further prompts, until it is full of those whose answers earned differently
    temperature  logits are divided by it in every log-probability
    critic_head  a network that gives values starts from the reward model; its head too (reward_model), or at 0 (zero)
    learning_rates  role -> its own peak learning rate, where it is not that of the others
    pretraining_file, pretraining_rows  rows of this file (so many, or as many as prompts) go with each batch of answers, side
               `ptx` 1: the first role alone is trained on them, and no scoring pass reads them
    width      numbers that a head gives for each row, where a network is asked for "classes"
    thresholds  where the thresholds beside a score begin; with some, the head is an ordinal one
    """

    Config: ClassVar[Any]
    eats: ClassVar[str] = "demonstrations"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({})
    grouped: ClassVar[bool] = False
    siblings: ClassVar[int] = 1
    dropout: ClassVar[bool] = False
    gathers: ClassVar[bool] = False
    thumbs: ClassVar[bool] = False
    mismatched: ClassVar[bool] = False
    best: ClassVar[tuple[str, bool]] = ("eval_loss", False)
    shown: ClassVar[tuple[str, ...]] = ("loss",)
    reads: frozenset[Stream] = frozenset()
    epochs: int = 1
    mini_batches: int = 1
    gen_batches: int = 1
    temperature: float = 1.0
    critic_head: Literal["reward_model", "zero"] = "reward_model"
    learning_rates: Mapping[str, float] = MappingProxyType({})
    pretraining_file: str | None = None
    pretraining_rows: int | None = None
    width: int = 1
    thresholds: Sequence[float] = ()

    def __init__(self, options: Any, temperature: float = 1.0) -> None:
        self.options, self.temperature = options, temperature

    @property
    def reference(self) -> bool:
        """Whether a frozen reference is asked."""
        return "ref" in self.reads

    def study(self, items: Sequence[Any], held_out: Sequence[Any], classes: Sequence[str] = ()) -> None:
        """Look at the rows before any network is made: what follows from them alone (classes and their shares, the mean of
        ratings). `classes` are the names of labels that are numbers by now. UserError where they cannot be learnt from."""

    def arrange(self, batch: Batch) -> Batch:
        """The rows as they are trained on, from data alone (the best of several answers, say); before anything is computed."""
        return batch

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """The batch with everything that needs no gradient, and with `weight` set for each loss term."""
        raise NotImplementedError

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Unreduced terms, shaped like their weights, of whichever outputs are there (one network at a time)."""
        raise NotImplementedError

    def statistics(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        """Sums over these rows of what the losses of *other* rows depend on (KTO's estimate of the KL), where it `gathers`.

        Run without gradient on every micro-batch of an optimiser step before any loss; the sums are added up over the step
        and all ranks, and `loss` finds them as sides of the same names. Rows with the side `auxiliary` are there for this
        alone; where a batch has such rows, only they are asked.
        """
        return {}

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        """What to log of one micro-batch, as sums."""
        return {}

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        """Logged numbers from the sums of the whole step: their means, unless an algorithm knows better."""
        return {name: moment.mean for name, moment in moments.items()}

    def describe(self, batch: Batch, total: masked.Total = masked.here) -> dict[str, float]:
        """What to log of the prepared batch, before any update."""
        return {}

    def enough(self, moments: Mapping[str, Moments]) -> bool:
        """True when the remaining passes over this batch should be left out (a KL budget that is used up)."""
        return False

    def after(self, described: Mapping[str, float], rows: int) -> None:
        """Called once after each step with what `describe` said; a KL controller moves here."""

    def state(self) -> dict[str, Any]:
        """Whatever moves from step to step, JSON-able; saved in every checkpoint."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
