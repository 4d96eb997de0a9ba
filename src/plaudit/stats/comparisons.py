"""Proportions, and two systems compared on the same prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from plaudit.stats.arrays import Floats, Interval, floats, pair


def wilson(successes: float, n: float, z: float = 1.96) -> Interval:
    """Score interval of a proportion (Wilson 1927). `successes` may be fractional (a tie is half a success).

    `mean` is successes / n, not the centre of the interval; n = 0 gives (nan, 0, 1).
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie within [0, n], got {successes} of {n}")
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def wins(a_scores: ArrayLike, b_scores: ArrayLike, tolerance: float = 0.0) -> Floats:
    """1 where a's score is higher, 0 where b's is, 1/2 where they differ by at most `tolerance`. Same shape as the inputs."""
    a, b = pair(a_scores, b_scores)
    return np.where(np.abs(a - b) <= tolerance, 0.5, (a > b).astype(np.float64))


def win_rate(a_scores: ArrayLike, b_scores: ArrayLike, tolerance: float = 0.0) -> float:
    """Share of prompts that a wins; ties count one half. `win_rate(a, b) + win_rate(b, a) == 1`."""
    return float(wins(a_scores, b_scores, tolerance).mean())


def bootstrap_mean(values: ArrayLike, *, resamples: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """Percentile interval of the mean (Efron 1979): whole prompts are drawn with replacement.

    `values` is [prompts] or [prompts, samples]; the samples of one prompt stay together, since they are not independent.
    Where all values are equal the interval has no width; read a Wilson interval beside it then.
    """
    if resamples < 1 or not 0 < level < 1:
        raise ValueError("resamples must be at least 1 and level within (0, 1)")
    array = floats(values, "values")
    rows = array.reshape(len(array), -1).mean(axis=1)
    rng = np.random.default_rng(seed)
    block = max(1, 2_000_000 // len(rows))  # bounds the memory at a large number of prompts
    means = np.concatenate(
        [rows[rng.integers(len(rows), size=(min(block, resamples - i), len(rows)))].mean(1) for i in range(0, resamples, block)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(rows.mean()), float(low), float(high))


def paired_bootstrap(
    a_scores: ArrayLike,
    b_scores: ArrayLike,
    *,
    tolerance: float = 0.0,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Win rate of a over b on the same prompts, with its bootstrap interval over prompts. See `wins`, `bootstrap_mean`."""
    return bootstrap_mean(wins(a_scores, b_scores, tolerance), resamples=resamples, seed=seed, level=level)


def paired_difference(
    a_scores: ArrayLike, b_scores: ArrayLike, *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of a - b per prompt, with its bootstrap interval over prompts."""
    a, b = pair(a_scores, b_scores)
    return bootstrap_mean(a - b, resamples=resamples, seed=seed, level=level)
