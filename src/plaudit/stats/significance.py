"""Is the difference real? Exact and permutation tests of two systems on the same prompts, and Holm's correction for many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from plaudit.stats.arrays import floats, pair


class McNemar(NamedTuple):
    """Rows that only a has right, rows that only b has right, and the two-sided p of "neither is better"."""

    only_a: int
    only_b: int
    p: float


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact p that wins and losses are equally likely: 2 P(X <= min), X ~ Binomial(wins + losses, 1/2); ties are out.

    1 where nothing was won or lost.
    """
    if wins < 0 or losses < 0:
        raise ValueError(f"wins and losses are counts, got {wins} and {losses}")
    n = wins + losses
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1))
    return min(1.0, float(2 * tail / 2**n))


def mcnemar(a_right: ArrayLike, b_right: ArrayLike) -> McNemar:
    """McNemar's exact test (1947) of two systems that are right (1) or wrong (0) on the same rows: the sign test of the rows
    on which they differ."""
    a, b = pair(floats(a_right, "a_right", 0, 1), floats(b_right, "b_right", 0, 1))
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("right and wrong are 1 and 0; use permutation_test for scores")
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    return McNemar(only_a, only_b, sign_test(only_a, only_b))


def permutation_test(a_scores: ArrayLike, b_scores: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided p of "a and b have the same mean", by flipping the signs of the differences per prompt (Fisher 1935).

    All 2^n signs where there are no more than `resamples` of them, else p = (1 + #{|t*| >= |t|}) / (1 + resamples).
    """
    a, b = pair(a_scores, b_scores)
    difference = a - b
    seen = abs(difference.sum()) - 1e-9 * np.abs(difference).sum()
    n = len(difference)
    if 2**n <= resamples:
        bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float((np.abs((1 - 2 * bits) @ difference) >= seen).mean())
    rng, hits, block = np.random.default_rng(seed), 0, max(1, 2_000_000 // n)
    for start in range(0, resamples, block):
        signs = 1 - 2 * rng.integers(0, 2, size=(min(block, resamples - start), n), dtype=np.int8)
        hits += int((np.abs(signs @ difference) >= seen).sum())
    return (1 + hits) / (1 + resamples)


def holm(values: Sequence[float]) -> list[float]:
    """p values of several comparisons, corrected so that a false alarm among all of them is as rare as one said (Holm 1979)."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    found, highest = [0.0] * len(values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - place) * values[i]))
        found[i] = highest
    return found
