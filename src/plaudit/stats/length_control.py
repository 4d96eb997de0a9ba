"""Win rate as if both sides had written equally much (Dubois et al. 2024, arXiv:2404.04475), on the user's own data.

    P(a wins) = sigmoid(theta + phi tanh(d / s)),   d = length of a - length of b,  s its standard deviation

The length-controlled win rate is sigmoid(theta). AlpacaEval also has a term per instruction, with difficulties fetched from the
hub; here there is none, so any data do. Whole prompts are drawn again and the model is fitted anew each time, which their
standard error leaves out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from plaudit.stats.arrays import Floats, Interval, floats, sigmoid

WARNING = 0.10
"""Points between raw and controlled win rate from which the raw one is misleading (AlpacaEval's own level)."""


class LengthControlled(NamedTuple):
    """Win rates of a over b with 95 % intervals over prompts."""

    raw: Interval
    controlled: Interval
    """At equal length."""
    slope: Interval
    """phi: above 0 the longer answer wins more often."""
    length: Interval
    """raw - controlled, in each resample: the part of the win rate that is length."""

    @property
    def misleading(self) -> bool:
        """Whether length explains more than 10 points of the raw win rate."""
        return abs(self.length.mean) > WARNING


def length_controlled(
    wins: ArrayLike, differences: ArrayLike, *, ridge: float = 0.1, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> LengthControlled:
    """`wins` [prompts] in [0, 1] of a over b; `differences` [prompts] in length, a - b, in any one unit.

    `ridge` (the penalty ridge/2 (theta^2 + phi^2), in prompts) keeps a side without defeat finite. Where all differences are
    equal, phi is 0 and the controlled rate is the raw one.
    """
    y, d = floats(wins, "wins", 0, 1), floats(differences, "differences")
    if y.ndim != 1 or y.shape != d.shape:
        raise ValueError(f"wins and differences need one entry per prompt: got {y.shape} and {d.shape}")
    n, spread = len(y), float(d.std())
    x = np.stack([np.ones(n), np.tanh(d / spread) if spread > 0 else np.zeros(n)])
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    weights = np.vstack([np.ones(n), drawn.astype(np.float64)])
    found = _fitted(x, y, weights, ridge)
    raw, controlled = weights @ y / n, sigmoid(found[:, 0])
    return LengthControlled(*(_interval(values, level) for values in (raw, controlled, found[:, 1], raw - controlled)))


def _fitted(x: Floats, y: Floats, weights: Floats, ridge: float) -> Floats:
    """[fits, 2] by damped Newton steps; x [2, n], y [n], weights [fits, n]."""
    beta, products = np.zeros((len(weights), len(x))), (x[:, None] * x[None]).reshape(-1, x.shape[1]).T
    for _ in range(100):
        chance = sigmoid(beta @ x)
        gradient = (weights * (y - chance)) @ x.T - ridge * beta
        curvature = weights * chance * (1 - chance)
        hessian = (curvature @ products).reshape(-1, len(x), len(x)) + ridge * np.eye(len(x))
        step = np.clip(np.linalg.solve(hessian, gradient[..., None])[..., 0], -2.0, 2.0)
        beta = beta + step
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(beta)


def _interval(values: Floats, level: float) -> Interval:
    low, high = np.quantile(values[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[0]), float(low), float(high))
