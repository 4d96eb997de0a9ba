"""How a step is cut into passes: by the very functions that a run uses, on rows of the lengths that it will have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from plaudit.algorithms.base import Algorithm
from plaudit.core.batch import Batch
from plaudit.models.attention import stepped
from plaudit.models.layout import Layout
from plaudit.models.sharing import lines_of
from plaudit.training import planning


@dataclass(frozen=True)
class Pass:
    """One micro-batch as the layers see it. tokens with padding, unless layers run without; pairs of query and key; logits of
    trained tokens; places of the grid that attention works on."""

    rows: int
    width: int
    tokens: int
    places: int
    pairs: int
    logits: int
    real: int


@dataclass(frozen=True)
class Cut:
    """How rows are laid out."""

    micro_batch: int
    sharing: bool
    packing: bool
    virtual: int = 0
    """Virtual tokens before each row or line that pass through the layers."""
    lean: bool = False
    """Layers run by `models/lean.py`: rows end to end, and a grid for attention alone (`models.attention.Grid`)."""
    fused: bool = False
    """Whether causal attention is one kernel there, for which shared beginnings stand in each of their rows."""


def cut(algorithm: Algorithm, batch: Batch, how: Cut) -> list[list[Pass]]:
    """Mini-batches of passes of one step."""
    batch = algorithm.arrange(batch)
    minis = planning.plan(
        batch, algorithm.mini_batches, how.micro_batch, grouped=algorithm.grouped, key=(0, 0), together=how.sharing
    )
    return [[one(batch.rows(index), how) for index in mini] for mini in minis]


def one(batch: Batch, how: Cut) -> Pass:
    """The pass of a micro-batch."""
    real = int(batch.length.sum())
    if how.sharing and how.lean:
        layout = Layout(batch, True, True)
        grid = layout.grid(fused=how.fused)
        rows, width, tokens = grid.lines, grid.width, layout.ids.numel()
        return Pass(rows, width, tokens, rows * width, rows * width * width, int(batch.mask.sum()), real)
    if how.sharing:
        lines = lines_of(batch).behind(how.virtual)
        rows, width = lines.ids.shape
    elif how.packing and not how.lean:
        rows, width = 1, real + how.virtual * len(batch)
    else:
        rows, width = len(batch), (int(batch.length.max()) if how.lean else batch.ids.shape[1]) + how.virtual
    tokens = rows * width
    if how.lean:
        tokens = real + how.virtual * rows
        width = stepped(width)
    return Pass(rows, width, tokens, rows * width, rows * width * width, int(batch.mask.sum()), real)


def rows_apart(algorithm: Algorithm, batch: Batch, count: int, how: Cut) -> list[Pass]:
    """All rows in batches of `count`, in order of length: an evaluation's, or a reward model's."""
    order = torch.argsort(batch.length)
    return [one(batch.rows(order[start : start + count]), how) for start in range(0, len(batch), count)]


def heaviest(minis: Sequence[Sequence[Pass]]) -> Pass:
    """The pass with most tokens: what memory must hold."""
    return max((one for mini in minis for one in mini), key=lambda p: p.tokens)
