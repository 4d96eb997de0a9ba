"""What every statistic here shares: the interval, and arguments checked on the way in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    mean: float
    low: float
    high: float


def floats(values: ArrayLike, name: str, low: float = -np.inf, high: float = np.inf) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all() or array.min() < low or array.max() > high:
        raise ValueError(f"{name} must hold at least one number, all finite and within [{low}, {high}]")
    return array


def pair(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    first, second = floats(a, "a"), floats(b, "b")
    if first.shape != second.shape:
        raise ValueError(
            f"both sides need one entry per prompt, in the same order: got shapes {first.shape} and {second.shape}"
        )
    return first, second


def sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))
