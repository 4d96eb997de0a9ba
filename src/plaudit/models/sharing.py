"""Rows that begin alike, laid out behind one copy of their common beginning: a prompt with its answers is read once.

A line is [beginning, rest of row 1, rest of row 2, ...]; a token sees the beginning and what is before it in its own rest, and
positions go on from the beginning in each rest. So every token has the very context that it has in a row of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from plaudit.core.batch import Batch

Tensor = torch.Tensor


@dataclass(frozen=True)
class Lines:
    """The rows of a batch as lines. W is the longest line.

    ids, positions [L, W]; part [L, W] 0 in the beginning, k in the rest of the line's k-th row; index [R, T] where each token
    of the batch lies in the flattened lines.
    """

    ids: Tensor
    positions: Tensor
    part: Tensor
    index: Tensor

    def behind(self, count: int) -> Lines:
        """The same lines with `count` more places at their beginnings, for virtual tokens (ids 0)."""
        if not count:
            return self
        width = self.ids.shape[1]
        ids, part = (torch.nn.functional.pad(x, (count, 0)) for x in (self.ids, self.part))
        front = torch.arange(count, device=ids.device).expand(len(ids), count)
        index = self.index // width * (width + count) + count + self.index % width
        return Lines(ids, torch.cat([front, self.positions + count], 1), part, index)

    def mask(self) -> Tensor:
        """True where a token (third axis) sees another (fourth): [L, 1, W, W]. No real token sees padding."""
        earlier = torch.ones(self.ids.shape[1], self.ids.shape[1], dtype=torch.bool, device=self.ids.device).tril()
        own = (self.part[:, :, None] == self.part[:, None, :]) | (self.part[:, None, :] == 0)
        return (earlier & own)[:, None]


def lines_of(batch: Batch) -> Lines:
    """One line for each group of the batch, in the order of their first rows."""
    groups = [rows.tolist() for rows in batch.groups()]
    lengths = batch.length.tolist()
    starts = [_common(batch, rows, lengths) for rows in groups]
    width = max(start + sum(lengths[row] - start for row in rows) for rows, start in zip(groups, starts, strict=True))
    ids = batch.ids.new_zeros(len(groups), width)
    positions, part, index = torch.zeros_like(ids), torch.zeros_like(ids), torch.zeros_like(batch.ids)
    place = torch.arange(max(width, batch.ids.shape[1]), device=ids.device)
    for line, (rows, start) in enumerate(zip(groups, starts, strict=True)):
        ids[line, :start] = batch.ids[rows[0], :start]
        positions[line, :start] = place[:start]
        at = start
        for number, row in enumerate(rows, 1):
            end = at + lengths[row] - start
            ids[line, at:end] = batch.ids[row, start : lengths[row]]
            positions[line, at:end] = place[start : lengths[row]]
            part[line, at:end] = number
            index[row, :start] = line * width + place[:start]
            index[row, start : lengths[row]] = line * width + place[at:end]
            at = end
        part[line, at:] = len(rows) + 1
    return Lines(ids, positions, part, index)


def _common(batch: Batch, rows: list[int], lengths: list[int]) -> int:
    """How many tokens the rows have in common from their beginning on."""
    if len(rows) == 1:
        return lengths[rows[0]]
    shortest = min(lengths[row] for row in rows)
    same = (batch.ids[rows, :shortest] == batch.ids[rows[0], :shortest]).all(0)
    return int(same.long().cumprod(0).sum())


def alike(rows: list[list[int]]) -> list[int]:
    """A group number for each row: a row that shares half of itself or more with the one before belongs to its group."""
    found: list[int] = []
    for number, row in enumerate(rows):
        before = rows[number - 1] if number else []
        same = next((i for i, (a, b) in enumerate(zip(row, before, strict=False)) if a != b), min(len(row), len(before)))
        found.append(found[-1] if number and 2 * same >= len(row) else number)
    return found
