"""Which rows go through the model together. No composition can change a gradient (weights are set before); it saves work."""

from __future__ import annotations

from collections.abc import Sequence


def pack(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Bins of row indices with at most `max_tokens` tokens each: first-fit decreasing, so at most 11/9 of the best + 6/9
    (Dósa 2007). A row that is longer by itself gets a bin of its own. Equal lengths keep their order."""
    bins: list[list[int]] = []
    room: list[int] = []
    for row in _longest_first(lengths):
        place = next((i for i, left in enumerate(room) if left >= lengths[row]), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(max_tokens)
        bins[place].append(row)
        room[place] -= lengths[row]
    return bins


def by_length(lengths: Sequence[int], micro_batch_size: int) -> list[list[int]]:
    """Micro-batches of at most `micro_batch_size` rows of like length, so that little is padded.

    The longest come first, so that a step which does not fit the memory fails at its start. Equal lengths keep their order.
    """
    order = _longest_first(lengths)
    return [order[i : i + micro_batch_size] for i in range(0, len(order), micro_batch_size)]


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
