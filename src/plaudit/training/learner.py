"""The learner: annotate, prepare, weigh, micro-batch, step. It knows no algorithm and no file.

The order of a step keeps law 1 and law 4: micro-batches are planned once, old log-probabilities are taken in the very
micro-batches that are trained on (so the first ratio is 1 to the last bit, bf16 included), weights are summed over the
whole optimiser step before it is split.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch

from plaudit.algorithms.base import Algorithm, Moments
from plaudit.core import masked
from plaudit.core.batch import Batch, Outputs
from plaudit.models.dropout import Draw
from plaudit.models.machine import trim
from plaudit.models.network import Network
from plaudit.training import planning, regularise
from plaudit.training.asked import Asked
from plaudit.training.averaging import Average
from plaudit.training.optimizers import Optimizer
from plaudit.training.options import OptimizerConfig
from plaudit.training.planning import MiniBatch
from plaudit.training.regularise import RegularisationConfig
from plaudit.training.steplog import StepLog, added
from plaudit.training.usage import counted

Tensor = torch.Tensor
AVERAGE = "average"
"""A checkpoint's averaged weights of a role stand in `<role>.average`."""


@dataclass
class Learner:
    """Networks under one algorithm.

    networks     role -> network, for each role the algorithm names
    reference    gives log-probabilities of the reference where the algorithm wants them
    total_steps  length of the learning-rate schedule, in steps
    micro_batch  rows (or groups, where rows of a group stay together) in one pass
    total        adds tensors up over ranks
    regularisation  noise, adversarial passes, R-Drop
    """

    algorithm: Algorithm
    networks: Mapping[str, Network]
    optimizer: OptimizerConfig
    total_steps: int
    micro_batch: int = 8
    reference: Network | None = None
    seed: int = 0
    total: masked.Total = masked.here
    regularisation: RegularisationConfig = field(default_factory=RegularisationConfig)
    steps: int = 0
    optimizers: dict[str, Optimizer] = field(init=False)
    average: Average | None = field(init=False, default=None)
    asked: Asked = field(init=False)
    stepped: bool = field(init=False, default=False)
    """Whether this process has taken an optimiser step."""

    def __post_init__(self) -> None:
        self.asked = Asked(self.algorithm, self.networks, self.reference)
        self.optimizers = {role: Optimizer(network, self.optimizer) for role, network in self.networks.items()}
        for network in self.networks.values():
            network.base.cast.collecting = True
        if self.optimizer.ema_decay:
            self.average = Average(self.networks, self.optimizer.ema_decay)

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return next(iter(self.networks.values())).base.model.device

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the networks."""
        return next(iter(self.networks.values())).base.tokenizer

    def prepared(self, batch: Batch) -> Batch:
        """The batch as a step would train on it: arranged, annotated and prepared."""
        return self._prepared(batch)[0]

    def _prepared(self, batch: Batch) -> tuple[Batch, list[MiniBatch], dict[int, Tensor | None]]:
        batch = self.algorithm.arrange(batch)
        minis = self.plan(batch)
        micros = [micro for mini in minis for micro in mini]
        trunks = self._trunks(batch, micros)
        return self.algorithm.prepare(self.asked.annotate(batch, micros, trunks), self.total), minis, trunks

    # -- the step ---------------------------------------------------------------------------------------------------

    def step(self, batch: Batch) -> dict[str, float]:
        """Train on one batch; metrics by TRL's names. `refused` counts optimiser steps that were not finite and not taken."""
        batch, minis, trunks = self._prepared(batch)
        described = self.algorithm.describe(batch, self.total)
        moments: dict[str, Moments] = {}
        log = StepLog()
        rate = self._set_learning_rates()
        for epoch in range(self.algorithm.epochs):
            seen: dict[str, Moments] = {}
            for number in planning.order(len(minis), epoch, (self.seed, self.steps)):
                now, finite = self._optimise(batch, minis[number], trunks, log)
                if epoch == 0 and "val/ratio" in now and "val/first_pass_ratio_deviation" not in log.values:
                    ratio = now["val/ratio"]
                    log.values["val/first_pass_ratio_deviation"] = max(abs(ratio.high - 1), abs(ratio.low - 1))
                seen = added(seen, now)
                if not finite:
                    break
            moments = added(moments, seen)
            if log.refused or self.algorithm.enough(seen):
                break
        self.steps += 1
        if not log.refused:
            self.algorithm.after(described, planning.answers(batch))
        return {
            **described,
            **self.algorithm.summarise(moments),
            **log.averages(self.algorithm),
            "lr": rate,
            "refused": float(log.refused),
            "ppo_epochs" if self.algorithm.epochs > 1 else "passes": float(epoch + 1),
        }

    def plan(self, batch: Batch) -> list[MiniBatch]:
        """Mini-batches of micro-batches, from data, seed and step alone."""
        a, together = self.algorithm, any(network.sharing for network in self.networks.values())
        key = (self.seed, self.steps)
        return planning.plan(batch, a.mini_batches, self.micro_batch, grouped=a.grouped, key=key, together=together)

    @counted("update")
    def _optimise(
        self, batch: Batch, mini: MiniBatch, trunks: Mapping[int, Tensor | None], log: StepLog
    ) -> tuple[dict[str, Moments], bool]:
        """One optimiser step of every network on one mini-batch; (metrics as sums, whether it was taken)."""
        draw = Draw(self.seed, self.steps) if self.algorithm.dropout else None
        batch = self._gathered(batch, mini, trunks)
        sums = {name: float(self.total(part)) for name, part in batch.rows(torch.cat(mini)).sums().items()}
        moments: dict[str, Moments] = {}
        losses: dict[str, float] = {}
        first = next(iter(self.networks))
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        for role, network in self.networks.items():
            for index in mini:
                micro = batch.rows(index).normalised(sums)
                if not _weighs(micro) or (role != first and planning.pretraining(batch, index)):
                    continue
                outputs, found = self._backward(network, role, micro, trunks[int(index[0])], draw)
                for name, value in found.items():
                    losses[name] = losses.get(name, 0.0) + value
                moments = added(moments, self.algorithm.metrics(outputs, micro))
                del outputs  # what they were made by holds casts of weights, which go when the next network is run
        norms = {role: self._clip(network) for role, network in self.networks.items()}
        finite = all(map(math.isfinite, [*losses.values(), *norms.values()]))
        if finite:
            for optimizer in self.optimizers.values():
                optimizer.step()
            if self.average is not None:
                self.average.update()
            if not self.stepped:  # optimiser states were made between what the first passes left free
                self.stepped = True
                trim()
        log.add(losses, norms, finite)
        return moments, finite

    def _backward(
        self, network: Network, role: str, micro: Batch, trunk: Tensor | None, draw: Draw | None
    ) -> tuple[Outputs, dict[str, float]]:
        """Forward and backward passes of one micro-batch: (outputs, losses by term)."""
        want = self.algorithm.networks[role] | ({"hidden"} if self.regularisation.r_drop_alpha else set())

        def forward(draw: Draw | None, shift: Tensor | None) -> Outputs:
            return self.asked.forward(network, role, micro, trunk, draw, want, shift)

        return regularise.backward(self.regularisation, self.algorithm, network, micro, draw, forward)

    @torch.no_grad()
    def _gathered(self, batch: Batch, micros: list[Tensor], trunks: Mapping[int, Tensor | None]) -> Batch:
        """The batch with the sums that the losses of an optimiser step have in common, as sides, where there are any."""
        if not self.algorithm.gathers:
            return batch
        apart = [rows for rows in micros if planning.auxiliary(batch, rows)]
        sums: dict[str, Tensor] = {}
        for index in apart or micros:
            micro = batch.rows(index)
            for role, network in self.networks.items():
                outputs = self.asked.forward(network, role, micro, trunks[int(index[0])])
                for name, part in self.algorithm.statistics(outputs, micro).items():
                    sums[name] = sums[name] + part if name in sums else part
        return batch.with_(sides={name: self.total(part).expand(len(batch)) for name, part in sums.items()})

    # -- beside the step --------------------------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(self, batches: Iterator[Batch]) -> dict[str, float]:
        """Loss and metrics of held-out rows, weighted as one batch; nothing is trained."""
        moments: dict[str, Moments] = {}
        sums: dict[str, float] = {}
        weights: dict[str, float] = {}
        for batch in batches:
            batch, micros, trunks = self._whole(batch.to(self.device))
            batch = self.algorithm.prepare(self.asked.annotate(batch, micros, trunks), self.total)
            batch = self._gathered(batch, micros, trunks)
            for role, network in self.networks.items():
                outputs = self.asked.forward(network, role, batch, trunks[0])
                divided = batch.sums()
                for name, term in self.algorithm.loss(outputs, batch).items():
                    sums[name] = sums.get(name, 0.0) + float((term * batch.weight[name]).sum())
                    weights[name] = weights.get(name, 0.0) + float(divided[name])
                moments = added(moments, self.algorithm.metrics(outputs, batch))
        loss = sum(value / weights[name] for name, value in sums.items() if weights[name])
        return {"loss": loss, **self.algorithm.summarise(moments)}

    def _trunks(self, batch: Batch, micros: list[Tensor]) -> dict[int, Tensor | None]:
        return self.asked.trunks(batch, micros, moved=self.regularisation.moves_embeddings)

    def _whole(self, batch: Batch) -> tuple[Batch, list[Tensor], dict[int, Tensor | None]]:
        """A batch that is run at once: arranged, its one micro-batch, and the trunk where more than one pass needs it."""
        batch = self.algorithm.arrange(batch)
        everything = torch.arange(len(batch))
        return batch, [everything], self._trunks(batch, [everything]) if self.algorithm.reads else {0: None}

    def rest(self) -> None:
        """Give back what nobody reads any more, gradients and what passes have freed: room for an engine's weights."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        trim()

    # -- optimisers and state ---------------------------------------------------------------------------------------

    def averaged(self) -> AbstractContextManager[None]:
        """The weights that are evaluated, for as long as a block lasts: the averages, where there are any."""
        return self.average.inside() if self.average is not None else nullcontext()

    def _set_learning_rates(self) -> float:
        o = self.optimizer
        assert o.learning_rate is not None, "run.py settles the learning rate before"
        factor = o.factor(self.steps, self.total_steps)
        for role, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = self.algorithm.learning_rates.get(role, o.learning_rate) * factor
        return o.learning_rate * factor

    def _clip(self, network: Network) -> float:
        """The norm of the gradients, which are scaled down to the limit where they are longer: else they are only read."""
        limit = self.optimizer.max_grad_norm
        parameters = [p for p in network.parameters().values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if limit and float(norm) + 1e-6 > limit:  # torch divides by norm + 1e-6
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
        return float(norm)

    def state(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """Tensors by file name, and JSON: all that a later process needs to go on bit for bit."""
        tensors: dict[str, dict[str, Tensor]] = {}
        for role, network in self.networks.items():
            tensors[role] = network.state()
            tensors[f"{role}.optimizer"] = self.optimizers[role].state()
            if self.average is not None:
                tensors[f"{role}.{AVERAGE}"] = self.average.weights[role]
        averaged = {"averaged": self.average.steps} if self.average is not None else {}
        return tensors, {"steps": self.steps, "algorithm": self.algorithm.state(), **averaged}

    def restore(self, tensors: Mapping[str, dict[str, Tensor]], state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        for role, network in self.networks.items():
            network.restore(tensors[role])
            self.optimizers[role].restore(tensors[f"{role}.optimizer"])
        if self.average is not None:
            averages = {role: tensors[f"{role}.{AVERAGE}"] for role in self.networks}
            self.average.restore(averages, int(state["averaged"]))
        self.steps = int(state["steps"])
        self.algorithm.restore(state["algorithm"])


def _weighs(batch: Batch) -> bool:
    """Whether any loss term of these rows counts; where none does, neither forward nor backward pass is needed."""
    return any(bool(weight.any()) for weight in batch.weight.values())
