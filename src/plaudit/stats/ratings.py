"""Rank correlation, and ratings of players from their games."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from plaudit.stats.arrays import Floats, Interval, floats, pair, sigmoid


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; ties share the mean of their places."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place])


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's r of the ranks, ties at their mean rank. nan where one side is constant."""
    x, y = (_ranks(side) - (len(side) + 1) / 2 for side in pair(a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale else float("nan")


def bradley_terry(wins: ArrayLike, ridge: float = 1e-2) -> Floats:
    """Ratings theta, mean 0, with P(i beats j) = sigmoid(theta_i - theta_j) (Bradley and Terry 1952), by damped Newton steps.

    `wins` is [..., players, players]: entry [i, j] counts how often i beat j, a tie is 1/2 on both sides; leading axes are
    separate fits. `ridge`/2 * |theta|^2 keeps a player without defeat finite; with ridge=0 such a table raises.
    """
    table = floats(wins, "wins", 0)
    if table.ndim < 2 or table.shape[-1] != table.shape[-2]:
        raise ValueError(f"wins must be [..., players, players], got {table.shape}")
    players = table.shape[-1]
    table = table * (1 - np.eye(players))
    games = table + np.swapaxes(table, -1, -2)
    theta = np.zeros(table.shape[:-1])
    fixed = np.eye(players) * ridge + 1.0 / players  # the constant pins the mean, which the likelihood leaves free
    for _ in range(500):
        chance = sigmoid(theta[..., :, None] - theta[..., None, :])
        gradient = (table - games * chance).sum(-1) - ridge * theta
        curvature = games * chance * (1 - chance)
        hessian = curvature.sum(-1)[..., None] * np.eye(players) - curvature + fixed
        try:
            step = np.clip(np.linalg.solve(hessian, gradient[..., None])[..., 0], -1.0, 1.0)
            step = step - step.mean(-1, keepdims=True)  # clipping moves the mean, which the ridge pulls back far too slowly
        except np.linalg.LinAlgError:
            break
        theta = theta + step
        if np.abs(step).max() < 1e-10:
            return np.asarray(theta - theta.mean(-1, keepdims=True))
    raise ValueError("the ratings do not settle: a player without a defeat or without a game needs ridge > 0")


def bradley_terry_intervals(
    wins: ArrayLike, *, ridge: float = 1e-2, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> list[Interval]:
    """One rating interval per player; `wins` is [prompts, players, players], one table per prompt; prompts are resampled."""
    tables = floats(wins, "wins", 0)
    if tables.ndim != 3:
        raise ValueError(f"wins must be [prompts, players, players], got {tables.shape}")
    n = len(tables)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    theta = bradley_terry(np.tensordot(times, tables, axes=1), ridge)
    low, high = np.quantile(theta, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, row)) for row in zip(bradley_terry(tables.sum(0), ridge), low, high, strict=True)]


def elo(theta: ArrayLike) -> Floats:
    """Ratings on the Elo scale: 400 theta / ln 10 + 1000."""
    return np.asarray(400 / np.log(10) * floats(theta, "theta") + 1000)


def ranks(intervals: Sequence[Interval]) -> list[int]:
    """Places from 1: one more than the players that are surely better, their whole interval above; who shares a place cannot
    be told apart from its best."""
    return [1 + sum(other.low > mine.high for other in intervals) for mine in intervals]
