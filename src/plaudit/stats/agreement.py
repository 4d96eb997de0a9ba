"""How far annotators agree: percent, Cohen's and Fleiss' kappa, Gwet's AC1, Krippendorff's alpha, with intervals.

`units[i]` always holds the ratings that item i received, whoever gave them; items with fewer than two say nothing about
agreement and are left out. Intervals come from drawing whole items with replacement (Efron 1979).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from plaudit.stats.arrays import Floats, Interval

Level = Literal["nominal", "ordinal", "interval"]
"""Whether values are names, places in an order, or numbers whose differences mean something."""
Units = Sequence[Sequence[Hashable]]
NAN = float("nan")


class AgreementFigures(NamedTuple):
    """Agreement on one question; nan where it cannot be said."""

    items: int
    """Rated at least twice."""
    ratings: int
    """Of those items."""
    percent: Interval
    """Share of agreeing pairs among all pairs of ratings of one item."""
    unanimity: float
    """Share of the items on which all agree."""
    fleiss: Interval
    alpha: Interval
    ac1: float


class _Table(NamedTuple):
    """Ratings as counts: `counts[item, value]`, items with at least two ratings only."""

    counts: Floats
    values: list[Hashable]

    @property
    def sizes(self) -> Floats:
        return np.asarray(self.counts.sum(1))


def _table(units: Units, level: Level) -> _Table:
    rated = [unit for unit in units if len(unit) >= 2]
    values: list[Hashable] = list(dict.fromkeys(value for unit in rated for value in unit))
    if level != "nominal":
        if not all(isinstance(value, int | float) for value in values):
            raise ValueError(f"{level} ratings must be numbers")
        values.sort(key=lambda value: float(value))  # type: ignore[arg-type]
    column = {value: i for i, value in enumerate(values)}
    counts = np.zeros((len(rated), len(values)))
    for row, unit in enumerate(rated):
        for value in unit:
            counts[row, column[value]] += 1
    return _Table(counts, values)


def _draws(items: int, resamples: int, seed: int) -> Floats:
    """[1 + resamples, items]: how often each item counts; the first row is the sample itself."""
    drawn = np.random.default_rng(seed).multinomial(items, np.full(items, 1 / items), size=resamples)
    return np.vstack([np.ones(items), drawn.astype(np.float64)])


def _interval(values: Floats, level: float = 0.95) -> Interval:
    """The first value with the percentiles of the others; those that cannot be said are left out."""
    others = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(others):
        return Interval(float(values[0]), NAN, NAN)
    low, high = np.quantile(others, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(values[0]), float(low), float(high))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, nan where bottom is 0."""
    return np.asarray(np.divide(top, bottom, out=np.full(np.shape(top), NAN), where=np.abs(bottom) > 1e-12))


def _pairs(table: _Table) -> tuple[Floats, Floats]:
    """Agreeing pairs and all pairs of ratings, per item."""
    return (table.counts * (table.counts - 1)).sum(1), table.sizes * (table.sizes - 1)


def _fleiss(table: _Table, weights: Floats) -> Floats:
    same, pairs = _pairs(table)
    observed = weights @ (same / pairs) / weights.sum(1)
    shares = weights @ table.counts
    expected = ((shares / shares.sum(1, keepdims=True)) ** 2).sum(1)
    return _ratio(observed - expected, 1 - expected)


def _alpha(table: _Table, weights: Floats, level: Level) -> Floats:
    margins = weights @ table.counts
    total = margins.sum(1)
    per = weights / (table.sizes - 1)
    found = np.empty(len(weights))
    fixed = None if level == "ordinal" else _distance(table, level, margins[0])
    for b, margin in enumerate(margins):
        far = _distance(table, level, margin) if fixed is None else fixed
        observed = float(((table.counts * per[b][:, None]).T @ table.counts * far).sum()) / total[b]
        expected = float(margin @ far @ margin) / (total[b] * (total[b] - 1))
        found[b] = 1 - observed / expected if expected > 1e-12 else NAN
    return found


def _distance(table: _Table, level: Level, margin: Floats) -> Floats:
    """Squared distances of every two values. Ordinal: the ratings between them, their own counted half."""
    if level == "nominal":
        return 1 - np.eye(len(table.values))
    place = np.asarray(table.values, dtype=np.float64) if level == "interval" else np.cumsum(margin) - margin / 2
    return np.asarray((place[:, None] - place[None, :]) ** 2)


def krippendorff_alpha(units: Units, level: Level = "nominal") -> float:
    """Krippendorff's alpha, any pattern of overlap: 1 - D_o / D_e (Krippendorff 2011). nan where nothing overlaps or varies.

    1 is full agreement, 0 what chance alone would give, below 0 is worse than chance. `level` says which distance counts:
    nominal 0 or 1, ordinal the number of ratings between two values, interval the squared difference.
    """
    table = _table(units, level)
    return float(_alpha(table, np.ones((1, len(table.counts))), level)[0]) if len(table.values) > 1 else NAN


def alpha_interval(units: Units, level: Level = "nominal", *, resamples: int = 1000, seed: int = 0) -> Interval:
    """Krippendorff's alpha with its 95 % bootstrap interval over items."""
    table = _table(units, level)
    if len(table.values) < 2:
        return Interval(NAN, NAN, NAN)
    return _interval(_alpha(table, _draws(len(table.counts), resamples, seed), level))


def fleiss_kappa(units: Units) -> float:
    """Fleiss' kappa (Fleiss 1971): (P - P_e) / (1 - P_e).

    P is the mean over items of the share of agreeing pairs, P_e = sum p_k^2. Fleiss asks for equally many ratings of each item;
    where the numbers differ, each item counts once. nan where nothing varies.
    """
    table = _table(units, "nominal")
    return float(_fleiss(table, np.ones((1, len(table.counts))))[0]) if len(table.values) > 1 else NAN


def gwet_ac1(units: Units) -> float:
    """Gwet's AC1 (2008): as Fleiss' kappa with P_e = sum p_k (1 - p_k) / (K - 1), which rare values do not upset."""
    table = _table(units, "nominal")
    if not len(table.counts):
        return NAN
    same, pairs = _pairs(table)
    shares = (table.counts / table.sizes[:, None]).mean(0)
    chance = float((shares * (1 - shares)).sum()) / max(1, len(shares) - 1)
    return (float((same / pairs).mean()) - chance) / (1 - chance)


def percent_agreement(units: Units, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """Share of agreeing pairs among all pairs of ratings of one item, with its 95 % bootstrap interval over items."""
    table = _table(units, "nominal")
    if not len(table.counts):
        return Interval(NAN, NAN, NAN)
    same, pairs = _pairs(table)
    weights = _draws(len(same), resamples, seed)
    return _interval(_ratio(weights @ same, weights @ pairs))


def agreement(units: Units, level: Level = "nominal", *, resamples: int = 1000, seed: int = 0) -> AgreementFigures:
    """All of it for one question. Percent, unanimity, Fleiss' kappa and AC1 take the values as names at every level."""
    table = _table(units, level)
    unsaid = Interval(NAN, NAN, NAN)
    if not len(table.counts):
        return AgreementFigures(0, 0, unsaid, NAN, unsaid, unsaid, NAN)
    same, pairs = _pairs(table)
    weights = _draws(len(same), resamples, seed)
    varies = len(table.values) > 1
    return AgreementFigures(
        items=len(same),
        ratings=int(table.counts.sum()),
        percent=_interval(_ratio(weights @ same, weights @ pairs)),
        unanimity=float((same == pairs).mean()),
        fleiss=_interval(_fleiss(table, weights)) if varies else unsaid,
        alpha=_interval(_alpha(table, weights, level)) if varies else unsaid,
        ac1=gwet_ac1(units),
    )


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable], *, quadratic: bool = False) -> float:
    """Agreement of two raters on the same items beyond chance (Cohen 1960): 1 - D_o / D_e; nan where neither varies.

    `quadratic` weighs a disagreement by the squared difference of two numbers (Cohen 1968); else every one weighs the same.
    """
    if len(a) != len(b) or not a:
        raise ValueError("the two raters must have rated the same items, at least one")

    def far(x: Hashable, y: Hashable) -> float:
        return float((x - y) ** 2) if quadratic else float(x != y)  # type: ignore[operator]

    n = len(a)
    mine = {value: list(a).count(value) for value in set(a)}
    yours = {value: list(b).count(value) for value in set(b)}
    observed = sum(far(x, y) for x, y in zip(a, b, strict=True)) / n
    expected = sum(far(x, y) * count * other for x, count in mine.items() for y, other in yours.items()) / (n * n)
    return 1 - observed / expected if expected > 0 else NAN
