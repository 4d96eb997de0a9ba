"""Which rows a step sees: a pure function of seed and step, so a resumed run goes on in the same order without any state."""

from __future__ import annotations

import math

import numpy as np

from plaudit.data.mixture import Mixture

FURTHER = 1 << 32
"""Orders from here on are those of single steps, not of epochs."""


class Feed:
    """`size` rows in portions of `portion`, reshuffled every epoch, without end.

    Every row is seen once an epoch, or as often as a mixture draws it; a portion may reach over the edge between two epochs.
    """

    def __init__(self, size: int, portion: int, seed: int, mixture: Mixture | None = None) -> None:
        if size < 1:
            raise ValueError("a feed needs at least one row")
        self.size, self.portion, self.seed = size, min(portion, size), seed
        self.mixture = mixture
        self._cached: tuple[int, np.ndarray] | None = None

    def at(self, step: int) -> list[int]:
        """Row indices of step `step` (0-based)."""
        first = step * self.portion
        return [int(self._epoch(place // self.size)[place % self.size]) for place in range(first, first + self.portion)]

    def further(self, step: int) -> list[int]:
        """All row indices in an order of this step's own, for a step that needs more than a portion.

        Those of its portion come last: they were just seen.
        """
        own, order = set(self.at(step)), self._order(FURTHER + step).tolist()
        return sorted(order, key=own.__contains__)

    def steps(self, epochs: float) -> int:
        """Steps that make so many epochs, rounded up."""
        return max(1, math.ceil(self.size * epochs / self.portion - 1e-9))

    def _epoch(self, epoch: int) -> np.ndarray:
        if self._cached is None or self._cached[0] != epoch:
            self._cached = (epoch, self._order(epoch))
        return self._cached[1]

    def _order(self, epoch: int) -> np.ndarray:
        if self.mixture is not None:
            return self.mixture.epoch(epoch)
        return np.random.Generator(np.random.Philox(key=[self.seed, epoch])).permutation(self.size)
