"""Statistics of evaluation and agreement: numpy in, plain floats out. No torch.

Scores and values are 1-D arrays, one entry per prompt, unless a docstring says otherwise. A mistake in the shape or range
of an argument raises ValueError. Intervals are `Interval(mean, low, high)`.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and the ends of its interval."""

    mean: float
    low: float
    high: float


def _floats(values: ArrayLike, name: str, low: float = -np.inf, high: float = np.inf) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0 or not np.isfinite(array).all() or array.min() < low or array.max() > high:
        raise ValueError(f"{name} must hold at least one number, all finite and within [{low}, {high}]")
    return array


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    first, second = _floats(a, "a"), _floats(b, "b")
    if first.shape != second.shape:
        raise ValueError(
            f"both sides need one entry per prompt, in the same order: got shapes {first.shape} and {second.shape}"
        )
    return first, second


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)))


# Proportions and paired comparisons


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
    a, b = _pair(a_scores, b_scores)
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
    array = _floats(values, "values")
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
    a, b = _pair(a_scores, b_scores)
    return bootstrap_mean(a - b, resamples=resamples, seed=seed, level=level)


# What a reward model can reach against noisy labels


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
    p = _floats(probabilities, "probabilities", 0, 1)
    return float(np.maximum(p, 1 - p).mean())


def expected_calibration_error(
    probabilities: ArrayLike, outcomes: ArrayLike, bins: int = 15, *, symmetric: bool = False
) -> float:
    """sum_b n_b/n |mean outcome - mean probability| over bins of equal mass (Nguyen and O'Connor 2015; Naeini et al. 2015).

    `symmetric` adds each pair seen from the other side (1 - p, 1 - y): right for P(chosen > rejected), whose outcomes are 1.
    """
    p, y = _pair(_floats(probabilities, "probabilities", 0, 1), _floats(outcomes, "outcomes", 0, 1))
    if symmetric:
        p, y = np.concatenate([p, 1 - p]), np.concatenate([y, 1 - y])
    # Equal probabilities share their mean outcome, so that the order of the rows cannot matter where a bin cuts through them.
    levels, place, count = np.unique(p, return_inverse=True, return_counts=True)
    y = (np.bincount(place, weights=y, minlength=len(levels)) / count)[place]
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(abs(y[part].mean() - p[part].mean()) * len(part) for part in parts) / len(p))


# Agreement and rank correlation


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> float:
    """Agreement of two raters on the same items beyond chance (Cohen 1960): (A - A_e) / (1 - A_e); nan where neither varies."""
    if len(a) != len(b) or not a:
        raise ValueError("the two raters must have rated the same items, at least one")
    n, observed = len(a), sum(x == y for x, y in zip(a, b, strict=True)) / len(a)
    expected = sum(list(a).count(value) * list(b).count(value) for value in set(a)) / (n * n)
    return (observed - expected) / (1 - expected) if expected < 1 else float("nan")


def krippendorff_alpha(units: Sequence[Sequence[Hashable]]) -> float:
    """Krippendorff's alpha for nominal data, any pattern of overlap: 1 - D_o / D_e (Krippendorff 2011).

    `units[i]` holds the ratings that item i received, whoever gave them; items with fewer than two are left out, as the
    coefficient demands. nan where nothing overlaps or nothing varies.
    """
    rated = [unit for unit in units if len(unit) >= 2]
    values = {value: column for column, value in enumerate(dict.fromkeys(v for unit in rated for v in unit))}
    if len(values) < 2:
        return float("nan")
    counts = np.zeros((len(rated), len(values)))
    for row, unit in enumerate(rated):
        for value in unit:
            counts[row, values[value]] += 1
    size, total = counts.sum(1), counts.sum()
    matches = (counts * (counts - 1)).sum(1) / (size - 1)  # the diagonal of the coincidence matrix, unit by unit
    margins = counts.sum(0)
    expected = 1 - float((margins * (margins - 1)).sum() / (total * (total - 1)))
    return 1 - (1 - float(matches.sum() / total)) / expected


def _ranks(values: Floats) -> Floats:
    """Ranks from 1; ties share the mean of their places."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[place])


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's r of the ranks, ties at their mean rank. nan where one side is constant."""
    x, y = (_ranks(side) - (len(side) + 1) / 2 for side in _pair(a, b))
    scale = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / scale if scale else float("nan")


# Models of players and of annotators


def bradley_terry(wins: ArrayLike, ridge: float = 1e-2) -> Floats:
    """Ratings theta, mean 0, with P(i beats j) = sigmoid(theta_i - theta_j) (Bradley and Terry 1952), by damped Newton steps.

    `wins` is [..., players, players]: entry [i, j] counts how often i beat j, a tie is 1/2 on both sides; leading axes are
    separate fits. `ridge`/2 * |theta|^2 keeps a player without defeat finite; with ridge=0 such a table raises.
    """
    table = _floats(wins, "wins", 0)
    if table.ndim < 2 or table.shape[-1] != table.shape[-2]:
        raise ValueError(f"wins must be [..., players, players], got {table.shape}")
    players = table.shape[-1]
    table = table * (1 - np.eye(players))
    games = table + np.swapaxes(table, -1, -2)
    theta = np.zeros(table.shape[:-1])
    fixed = np.eye(players) * ridge + 1.0 / players  # the constant pins the mean, which the likelihood leaves free
    for _ in range(500):
        chance = _sigmoid(theta[..., :, None] - theta[..., None, :])
        gradient = (table - games * chance).sum(-1) - ridge * theta
        curvature = games * chance * (1 - chance)
        hessian = curvature.sum(-1)[..., None] * np.eye(players) - curvature + fixed
        try:
            step = np.clip(np.linalg.solve(hessian, gradient[..., None])[..., 0], -1.0, 1.0)
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
    tables = _floats(wins, "wins", 0)
    if tables.ndim != 3:
        raise ValueError(f"wins must be [prompts, players, players], got {tables.shape}")
    n = len(tables)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    theta = bradley_terry(np.tensordot(times, tables, axes=1), ridge)
    low, high = np.quantile(theta, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Interval(*map(float, row)) for row in zip(bradley_terry(tables.sum(0), ridge), low, high, strict=True)]


def elo(theta: ArrayLike) -> Floats:
    """Ratings on the Elo scale: 400 theta / ln 10 + 1000."""
    return np.asarray(400 / np.log(10) * _floats(theta, "theta") + 1000)


class Consensus(NamedTuple):
    """`posterior[item]` = P(true label is 1); `accuracy[annotator]` = estimated P(a vote is right)."""

    posterior: Floats
    accuracy: Floats


def one_coin_dawid_skene(
    votes: Sequence[tuple[int, int, float]],
    prior: tuple[float, float] = (20.0, 6.5),
    prevalence: float = 0.5,
    iterations: int = 200,
) -> Consensus:
    """The one-coin annotator model of Dawid and Skene (1979) by EM: annotator w votes right with probability a_w, everywhere.

    `votes` are (item, annotator, value), numbered from 0; value 1 or 0, and a value between is split: v counts as v for 1
    and 1 - v for 0, so that a tie (1/2) says nothing of the item. E step: logit q_i = logit prevalence +
    sum (2v - 1) logit a_w. M step: a_w = (prior[0] + right votes expected) / (prior[0] + prior[1] + votes), where a vote weighs
    |2v - 1|: a tie is not held against who gave it. The Beta(20, 6.5) prior (mean .755) is strong on purpose: with few votes
    a weak one loses to the plain majority. Items without votes stay at `prevalence`.
    """
    rows = _floats(votes, "votes", 0).reshape(-1, 3)
    item, who, sign = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64), 2 * _floats(rows[:, 2], "values", 0, 1) - 1
    bias = float(np.log(prevalence / (1 - prevalence)))
    weight = np.bincount(who, np.abs(sign))
    accuracy = np.full(len(weight), prior[0] / (prior[0] + prior[1]))

    def posterior(accuracy: Floats) -> Floats:
        evidence = sign * np.log(accuracy / (1 - accuracy))[who]
        return _sigmoid(bias + np.bincount(item, evidence).astype(np.float64))

    for _ in range(iterations):
        q = posterior(accuracy)[item]
        right = np.bincount(who, np.abs(sign) * np.where(sign > 0, q, 1 - q))
        before, accuracy = accuracy, np.clip((prior[0] + right) / (prior[0] + prior[1] + weight), 0.02, 0.98)
        if np.abs(accuracy - before).max() < 1e-10:
            break
    return Consensus(posterior(accuracy), accuracy)
