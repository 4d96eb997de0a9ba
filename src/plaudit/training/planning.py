"""How a step is cut into optimiser steps and passes: from data, seed and step alone, so that it can be repeated."""

from __future__ import annotations

import numpy as np
import torch

from plaudit.core.batch import Batch
from plaudit.data.packing import by_length

Tensor = torch.Tensor
MiniBatch = list[Tensor]
"""Row indices of each of its micro-batches."""


def plan(
    batch: Batch, parts: int, micro_batch: int, *, grouped: bool, key: tuple[int, int], together: bool = False
) -> list[MiniBatch]:
    """`parts` mini-batches (one optimiser step each) of micro-batches (one pass each) of rows of like length.

    grouped: rows of one group stay together, and `micro_batch` counts groups. together: they do, and it counts rows.
    key: (seed, step), which the parts are drawn from. Auxiliary rows never share a micro-batch with the others, nor do
    pre-training rows, of which each part gets its share.
    """
    groups = batch.groups() if grouped or together else [torch.tensor([row]) for row in range(len(batch))]
    if together and not grouped:
        micro_batch = max(1, micro_batch // max(map(len, groups), default=1))
    answers = [rows for rows in groups if not pretraining(batch, rows)]
    beside = [rows for rows in groups if pretraining(batch, rows)] if len(answers) < len(groups) else []
    count = min(parts, len(answers))
    minis = []
    for own, extra in zip(_cut(answers, count, key), _cut(beside, count, key), strict=True):
        kinds = [*_kinds(batch, own), *([extra] if extra else [])]
        minis.append([torch.cat(micro) for kind in kinds for micro in _micros(batch, kind, micro_batch)])
    return minis


def _cut(groups: list[Tensor], count: int, key: tuple[int, int]) -> list[list[Tensor]]:
    """The groups in so many parts of almost one size, drawn from `key`, each in the batch's own order."""
    members = (
        np.arange(len(groups)) if count == 1 else np.random.Generator(np.random.Philox(key=list(key))).permutation(len(groups))
    )
    return [[groups[g] for g in sorted(part.tolist())] for part in np.array_split(members, count)]


def order(count: int, epoch: int, key: tuple[int, int]) -> list[int]:
    """In which order the mini-batches are trained on in pass `epoch` of the step."""
    if count == 1:
        return [0]
    seed, step = key
    return np.random.Generator(np.random.Philox(key=[seed, (step << 16) + epoch + 1])).permutation(count).tolist()


def auxiliary(batch: Batch, rows: Tensor) -> bool:
    """Whether these rows are there for statistics alone."""
    return "auxiliary" in batch.sides and bool(batch["auxiliary"][rows].any())


def pretraining(batch: Batch, rows: Tensor) -> bool:
    """Whether these rows are there for their log-likelihood alone, beside sampled answers."""
    return "ptx" in batch.sides and bool(batch["ptx"][rows].any())


def answers(batch: Batch) -> int:
    """Rows that are no pre-training rows."""
    return len(batch) - int(batch["ptx"].sum()) if "ptx" in batch.sides else len(batch)


def _kinds(batch: Batch, members: list[Tensor]) -> list[list[Tensor]]:
    apart = [rows for rows in members if auxiliary(batch, rows)]
    return [[rows for rows in members if not auxiliary(batch, rows)], apart] if apart else [members]


def _micros(batch: Batch, members: list[Tensor], size: int) -> list[list[Tensor]]:
    longest = [int(batch.length[rows].max()) for rows in members]
    return [[members[i] for i in chosen] for chosen in by_length(longest, size)]
