"""How many more labels are worth it: what an accuracy's interval costs, and what a learning curve promises."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from plaudit.stats.arrays import Interval

POINTS_PER_DOUBLING = 0.011
"""Accuracy that a doubling of the pairs gave reward models of 0.16 to 13 B parameters on summaries, 8,000 to 64,000 pairs
(Stiennon et al. 2020, as cited): what is assumed where no curve was measured."""


def half_width(accuracy: float, pairs: float, z: float = 1.96) -> float:
    """Half of the interval of an accuracy measured on `pairs` held-out pairs: z sqrt(p (1 - p) / n)."""
    if not 0 <= accuracy <= 1 or pairs <= 0:
        raise ValueError(f"an accuracy within [0, 1] and pairs above 0 are needed, got {accuracy} and {pairs}")
    return z * math.sqrt(accuracy * (1 - accuracy) / pairs)


def pairs_for_half_width(accuracy: float, width: float, z: float = 1.96) -> int:
    """Held-out pairs that an accuracy needs to be known within +-`width`: z^2 p (1 - p) / width^2."""
    if not 0 <= accuracy <= 1 or width <= 0:
        raise ValueError(f"an accuracy within [0, 1] and a width above 0 are needed, got {accuracy} and {width}")
    return math.ceil(z * z * accuracy * (1 - accuracy) / width**2 - 1e-9)


def majority_accuracy(accuracy: float, votes: int) -> float:
    """P(the majority of `votes` independent votes is right), each right with `accuracy`; a draw is half (Condorcet 1785)."""
    if not 0 <= accuracy <= 1 or votes < 1:
        raise ValueError(f"an accuracy within [0, 1] and votes of at least 1 are needed, got {accuracy} and {votes}")
    chance = [math.comb(votes, k) * accuracy**k * (1 - accuracy) ** (votes - k) for k in range(votes + 1)]
    return sum(p * (1.0 if 2 * k > votes else 0.5 if 2 * k == votes else 0.0) for k, p in enumerate(chance))


class LearningCurve(NamedTuple):
    """accuracy = start + slope log2(pairs), with the covariance of the two."""

    start: float
    slope: float
    covariance: tuple[tuple[float, float], tuple[float, float]]

    def gain(self, pairs: float, more: float, z: float = 1.96) -> Interval:
        """What `more` pairs beyond `pairs` promise, in accuracy: slope log2(1 + more / pairs)."""
        doublings = math.log2(1 + more / pairs)
        error = z * math.sqrt(max(0.0, self.covariance[1][1])) * doublings
        return Interval(self.slope * doublings, self.slope * doublings - error, self.slope * doublings + error)


def learning_curve(points: Sequence[tuple[float, float, float]]) -> LearningCurve:
    """The line through (pairs trained on, held-out accuracy, pairs held out), least squares weighted by 1 / (p (1 - p) / n).

    Two different sizes at least. Reward models' accuracy grows about linearly in the logarithm of the pairs (Bai et al. 2022,
    section 3; Stiennon et al. 2020, section 4).
    """
    if len({size for size, _, _ in points}) < 2 or any(size <= 0 or held <= 0 or not 0 <= p <= 1 for size, p, held in points):
        raise ValueError("a learning curve needs two sizes at least, each above 0, with an accuracy within [0, 1]")
    x = np.array([[1.0, math.log2(size)] for size, _, _ in points])
    y = np.array([p for _, p, _ in points])
    # Laplace's share keeps an accuracy of 0 or 1 from having no error at all.
    shares = [(p * held + 1) / (held + 2) for _, p, held in points]
    weight = np.array([held / (s * (1 - s)) for s, (_, _, held) in zip(shares, points, strict=True)])
    covariance = np.linalg.inv(x.T @ (x * weight[:, None]))
    start, slope = covariance @ (x.T @ (weight * y))
    (aa, ab), (ba, bb) = covariance.tolist()
    return LearningCurve(float(start), float(slope), ((aa, ab), (ba, bb)))
