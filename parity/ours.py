"""Plaudit's side of the comparison: its networks and learner on the tiny models, and the lines of the table.

A difference is the largest absolute difference of a quantity's numbers over the largest of TRL's numbers. Log-probabilities,
losses of the first step, scores and advantages may differ by 1e-5; five steps of losses and the weights after them by 1e-4.
"""

import json
import pathlib
from dataclasses import dataclass

import torch

import world
from plaudit.core.batch import from_rows
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.network import Network
from plaudit.training.learner import Learner
from plaudit.training.options import OptimizerConfig

HERE = pathlib.Path(__file__).parent

VALUES, TRAJECTORY = 1e-5, 1e-4


@dataclass(frozen=True)
class Difference:
    """One line of the table."""

    algorithm: str
    case: str
    quantity: str
    numbers: int
    largest: float
    tolerance: float | None
    note: str = ""


def recorded(name):
    """parity/recorded/NAME.json."""
    return json.loads((HERE / "recorded" / f"{name}.json").read_text(encoding="utf-8"))


def flat(x):
    """Nested lists of numbers, or a tensor, as one float64 vector."""
    if isinstance(x, torch.Tensor):
        return x.detach().double().flatten()
    if isinstance(x, list):
        return torch.cat([flat(part) for part in x]) if x else torch.zeros(0, dtype=torch.float64)
    return torch.tensor([x], dtype=torch.float64)


class Case:
    """Collects the lines of one case."""

    def __init__(self, algorithm, case=""):
        self.algorithm, self.case, self.lines = algorithm, case, []

    def add(self, quantity, ours, theirs, tolerance=VALUES, note="", scale=None):
        """Ours and theirs are numbers, nested lists or tensors of one size. No tolerance: TRL errs, and the note says how.

        scale: what the difference is divided by, where it is not the largest of their numbers.
        """
        ours, theirs = flat(ours), flat(theirs)
        assert ours.shape == theirs.shape and len(theirs), (self.algorithm, self.case, quantity, ours.shape, theirs.shape)
        largest = float((ours - theirs).abs().max() / (scale or theirs.abs().max() or 1.0))
        self.lines.append(Difference(self.algorithm, self.case, quantity, len(theirs), largest, tolerance, note))

    def trajectory(self, losses, changes, found):
        """Losses of five steps, and the change of each weight: its norm and two products, over its norm."""
        scale = max(map(abs, found["losses"]))
        if scale > 1e-6:  # RLOO's are 0 by construction where every ratio is 1
            self.add("loss of the first step", losses[0], found["losses"][0], scale=scale)
            self.add("losses of five steps", losses, found["losses"], TRAJECTORY)
        self.moved(changes, found["changes"])

    def moved(self, changes, theirs, role=""):
        """How far each weight went: its norm and two products, over its norm."""
        assert set(changes) == set(theirs), set(changes) ^ set(theirs)
        scale = flat([[theirs[name][0] or 1.0] * 3 for name in sorted(changes)])
        both = [flat([some[name] for name in sorted(changes)]) / scale for some in (changes, theirs)]
        self.add(f"change of the {role or 'model'}'s weights over five steps", *both, TRAJECTORY)


def causal(role, seed, **options):
    """A network that owns a tiny causal model."""
    return whole(role, world.causal(seed), None, **options)


def scorer(role, seed):
    """A network whose decoder and head are those of TRL's sequence classifier: the head has no bias there."""
    classifier, model = world.scorer(seed), world.causal(seed)
    model.model.load_state_dict(classifier.model.state_dict())
    return whole(role, model, classifier.score)


def whole(role, model, head):
    model = Base(model, world.tokenizer(), "parity", "tiny", AdapterConfig())
    return Network(role, model, whole=True, head=head)


def frozen(seed):
    """The reference."""
    return Network("reference", Base(world.causal(seed), world.tokenizer(), "parity", "tiny", AdapterConfig()))


def learner(algorithm, networks, options, reference=None, steps=world.STEPS):
    """The learner with the optimiser's options as they were recorded."""
    names = ("learning_rate", "adam_epsilon", "weight_decay", "max_grad_norm", "lr_scheduler_type")
    kept = {name: options[name] for name in names if name in options}
    return Learner(algorithm, networks, OptimizerConfig(**kept), total_steps=steps, micro_batch=3, reference=reference)


def named(network):
    """Weights of a network by the names that TRL's models give them."""
    found = {name: p.detach().clone() for name, p in network.parameters().items()}
    return {name.replace("head.weight", "score.weight") if name.startswith("head") else name: p for name, p in found.items()}


def batch_of(rows, **settings):
    """(prompt, answer) rows as a batch."""
    ids = [prompt + answer for prompt, answer in rows]
    return from_rows(ids, [[0] * len(prompt) + [1] * len(answer) for prompt, answer in rows], **settings)


def pair_batch(rows, **sides):
    """Pairs as a batch: the chosen answer has place 0; sides are given by pair."""
    flat_rows = [(prompt, answer) for prompt, chosen, rejected in rows for answer in (chosen, rejected)]
    return batch_of(
        flat_rows,
        group=[i // 2 for i in range(len(flat_rows))],
        place=[i % 2 for i in range(len(flat_rows))],
        sides={name: [value for value in values for _ in range(2)] for name, values in sides.items()},
    )


def masked(stream, batch):
    """The numbers of a stream at the tokens that count, row by row."""
    return torch.cat([row[some > 0] for row, some in zip(stream, batch.mask, strict=True)])


@torch.no_grad()
def logprobs(network, batch, temperature=1.0):
    """Log-probabilities [R, T]."""
    return network(batch, {"logp"}, temperature=temperature).logp
