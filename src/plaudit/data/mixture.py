"""A mixture: rows of several sources, drawn by weights. What is drawn is a function of the seed and the place alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SOURCE = 1 << 40
"""Keys of a source's shuffles lie above those of an epoch's."""


class Mixture:
    """An epoch draws as many rows as there are; of each source its share of them, in an order of its own.

    Every row of a source comes up before one comes up again: a source that is drawn more often than it has rows starts over,
    reshuffled; one that is drawn less often goes on in the next epoch where it stopped.
    """

    def __init__(self, members: Sequence[Sequence[int] | np.ndarray], weights: Sequence[float], seed: int) -> None:
        """members: of each source, the indices of its rows. weights: above 0, relative to each other."""
        if not all(len(rows) for rows in members):
            raise ValueError("every source of a mixture needs a row")
        self.members = [np.asarray(rows, dtype=np.int64) for rows in members]
        self.seed, self.size = seed, sum(map(len, members))
        self.counts = shares(weights, self.size)
        """Rows of each source in an epoch."""

    def epoch(self, number: int) -> np.ndarray:
        """Row indices of epoch `number`, [size]."""
        drawn = [self._drawn(source, number * count, count) for source, count in enumerate(self.counts)]
        order = np.random.Generator(np.random.Philox(key=[self.seed, number])).permutation(self.size)
        return np.concatenate(drawn)[order]

    def _drawn(self, source: int, first: int, count: int) -> np.ndarray:
        rows = self.members[source]
        found, at = [], first
        while at < first + count:
            turn, offset = divmod(at, len(rows))
            shuffle = np.random.Generator(np.random.Philox(key=[self.seed, (source + 1) * SOURCE + turn])).permutation(
                len(rows)
            )
            piece = rows[shuffle[offset : offset + first + count - at]]
            found.append(piece)
            at += len(piece)
        return np.concatenate(found) if found else rows[:0]

    def lines(self, names: Sequence[str]) -> list[str]:
        """What a person should read of each source."""
        told = zip(names, self.counts, self.members, strict=True)
        return [
            f"{name}: {count:,} of the {self.size:,} rows of an epoch ({count / self.size:.1%}); it has {len(rows):,}, "
            f"so each comes up {count / len(rows):.2g} times an epoch"
            for name, count, rows in told
        ]


def shares(weights: Sequence[float], total: int) -> list[int]:
    """Whole numbers near `total` times the shares, with that sum (largest remainders), at least 1 each."""
    wanted = np.asarray(weights, dtype=float) / sum(weights) * total
    counts = np.maximum(1, np.floor(wanted)).astype(int)
    order = np.argsort(-(wanted - np.floor(wanted)), kind="stable")
    for i in range(int(total - counts.sum())):
        counts[order[i % len(order)]] += 1
    while counts.sum() > total and counts.max() > 1:
        counts[int(np.argmax(counts))] -= 1
    return [int(count) for count in counts]
