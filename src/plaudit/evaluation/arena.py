"""Three models or more on the same prompts: Bradley-Terry ratings with intervals, places, and every pair of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from plaudit.evaluation.winrate import Rates, ends
from plaudit.schema import JSON
from plaudit.stats import Interval, bootstrap_mean, bradley_terry_intervals, elo, holm, ranks, sign_test


def arena(names: Sequence[str], wins: Mapping[tuple[int, int], Rates]) -> JSON:
    """`wins[i, j]` for i < j: [prompts][samples] of model i against j. Prompts on which any pair lacks a value are left out.

    Ratings are on the Elo scale with mean 1000; models share a place where their intervals meet. The p values of the pairs are
    corrected for their number (Holm).
    """
    pairs = list(itertools.combinations(range(len(names)), 2))
    prompts = len(wins[pairs[0]])
    kept = [p for p in range(prompts) if all(wins[pair][p] and None not in wins[pair][p] for pair in pairs)]
    result: JSON = {"compared_prompts": len(kept), "unscored_prompts": prompts - len(kept)}
    if not kept:
        return result
    tables, compared, values = np.zeros((len(kept), len(names), len(names))), [], []
    for i, j in pairs:
        rates = np.array([np.mean([value for value in wins[i, j][p] if value is not None]) for p in kept])
        tables[:, i, j], tables[:, j, i] = rates, 1 - rates
        rate, low_high = ends(bootstrap_mean(rates))
        compared.append({"model": names[i], "against": names[j], "win_rate": rate, "win_rate_ci": low_high})
        values.append(sign_test(int((rates > 0.5).sum()), int((rates < 0.5).sum())))
    found = [Interval(*elo(list(one)).tolist()) for one in bradley_terry_intervals(tables)]
    rated = [
        {"model": name, "elo": one.mean, "elo_ci": [one.low, one.high], "place": place}
        for name, one, place in zip(names, found, ranks(found), strict=True)
    ]
    told = [{**one, "p": p} for one, p in zip(compared, holm(values), strict=True)]
    return {**result, "ratings": sorted(rated, key=lambda one: -one["elo"]), "pairs": told}  # type: ignore[operator]
