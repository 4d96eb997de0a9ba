"""Are probabilities as often right as they say? The reliability curve, and the calibration error with an interval."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from plaudit.stats.arrays import Interval, floats, pair
from plaudit.stats.ceilings import expected_calibration_error
from plaudit.stats.comparisons import wilson


class Bin(NamedTuple):
    """Rows whose probabilities lie together."""

    rows: int
    said: float
    """Mean probability."""
    found: Interval
    """Share of outcomes, with its Wilson interval."""


def reliability(probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 15) -> list[Bin]:
    """Bins of equal mass in rising probability (those of `expected_calibration_error`); empty ones are left out."""
    p, y = pair(floats(probabilities, "probabilities", 0, 1), floats(outcomes, "outcomes", 0, 1))
    parts = [part for part in np.array_split(np.argsort(p, kind="stable"), bins) if len(part)]
    return [Bin(len(part), float(p[part].mean()), wilson(float(y[part].sum()), len(part))) for part in parts]


def calibration_error(
    probabilities: ArrayLike,
    outcomes: ArrayLike,
    bins: int = 15,
    *,
    symmetric: bool = False,
    resamples: int = 300,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """`expected_calibration_error` with a bootstrap interval over rows, shifted down by what sampling alone adds.

    The estimate is biased upwards, and a resample of it twice: the interval is the basic one (Davison and Hinkley 1997, 5.6),
    2 ECE - quantiles of the resamples, cut at 0.
    """
    p, y = pair(floats(probabilities, "probabilities", 0, 1), floats(outcomes, "outcomes", 0, 1))
    measured = expected_calibration_error(p, y, bins, symmetric=symmetric)
    rng = np.random.default_rng(seed)
    again = [
        expected_calibration_error(p[rows], y[rows], bins, symmetric=symmetric)
        for rows in (rng.integers(len(p), size=len(p)) for _ in range(resamples))
    ]
    low, high = np.quantile(again, [(1 - level) / 2, (1 + level) / 2])
    return Interval(measured, max(0.0, 2 * measured - float(high)), max(measured, 2 * measured - float(low)))


def brier(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean squared distance of probability and outcome (Brier 1950): 0 is perfect, 1/4 says 1/2 always."""
    p, y = pair(floats(probabilities, "probabilities", 0, 1), floats(outcomes, "outcomes", 0, 1))
    return float(((p - y) ** 2).mean())


def log_loss(probabilities: ArrayLike, outcomes: ArrayLike) -> float:
    """Mean of -(y log p + (1 - y) log(1 - p)) in nats; probabilities are kept 1e-12 away from 0 and 1. ln 2 says 1/2 always."""
    p, y = pair(floats(probabilities, "probabilities", 0, 1), floats(outcomes, "outcomes", 0, 1))
    p = np.clip(p, 1e-12, 1 - 1e-12)
    return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())
