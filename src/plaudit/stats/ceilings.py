"""What a reward model can reach against noisy labels, and how well its probabilities hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from plaudit.stats.arrays import floats, pair


def ceiling(agreement: float) -> float:
    """Upper bound of the accuracy against one noisy label, from the raw agreement A of two labels: (1 + sqrt(2A - 1)) / 2.

    Two independent labels of accuracy p agree with A = p^2 + (1 - p)^2; the bound is that p. Where pairs differ in difficulty
    the true ceiling is lower, since the root is concave (Jensen). A below one half is read as one half: pure noise.
    """
    if not 0 <= agreement <= 1:
        raise ValueError(f"an agreement lies within [0, 1], got {agreement}")
    return 0.5 * (1 + float(np.sqrt(max(0.0, 2 * agreement - 1))))


def ceiling_from_flip_rate(flip_rate: float) -> float:
    """Accuracy of an oracle against labels of which this share is flipped at random: 1 - f; above f = 1/2, its opposite: f."""
    if not 0 <= flip_rate <= 1:
        raise ValueError(f"a flip rate lies within [0, 1], got {flip_rate}")
    return max(flip_rate, 1 - flip_rate)


def accuracy_ceiling(probabilities: ArrayLike) -> float:
    """Bayes accuracy when label i is 1 with probability p_i: the mean of max(p_i, 1 - p_i)."""
    p = floats(probabilities, "probabilities", 0, 1)
    return float(np.maximum(p, 1 - p).mean())


def expected_calibration_error(
    probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 15, *, symmetric: bool = False
) -> float:
    """sum_b n_b/n |mean outcome - mean probability| over bins of equal mass (Nguyen and O'Connor 2015; Naeini et al. 2015).

    `symmetric` adds each pair seen from the other side (1 - p, 1 - y): right for P(chosen > rejected), whose outcomes are 1.
    """
    p, y = pair(floats(probabilities, "probabilities", 0, 1), floats(outcomes, "outcomes", 0, 1))
    if symmetric:
        p, y = np.concatenate([p, 1 - p]), np.concatenate([y, 1 - y])
    # Equal probabilities share their mean outcome, so that the order of the rows cannot matter where a bin cuts through them.
    levels, place, count = np.unique(p, return_inverse=True, return_counts=True)
    y = (np.bincount(place, weights=y, minlength=len(levels)) / count)[place]
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(y[part].mean() - p[part].mean()) * len(part) for part in parts) / len(p))
