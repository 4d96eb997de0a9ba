"""How far predicted ratings follow those that people gave: error and correlations, with intervals. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from plaudit.stats import spearman


def rating_report(ratings: Sequence[float], said: Sequence[float]) -> dict[str, Any]:
    """Figures over the rows; None where they cannot be told (fewer than four rows, or all ratings the same).

    `rmse` has the unit of the ratings, `rmse_of_mean` is what saying their mean would give. Intervals of correlations (95 %)
    are by Fisher's z, that of Spearman's with 1.06 / (n - 3) as its variance (Fieller, Hartley and Pearson 1957).
    """
    given, guessed = np.asarray(ratings, dtype=float), np.asarray(said, dtype=float)
    found: dict[str, Any] = {"rows": len(given)}
    if len(given):
        found |= {
            "rmse": float(np.sqrt(np.mean((given - guessed) ** 2))),
            "rmse_of_mean": float(given.std()),
        }
    told = len(given) > 3 and given.std() > 0 and guessed.std() > 0
    for name, spread in (("pearson", 1.0), ("spearman", 1.06)):
        value = None
        if told:
            value = float(np.corrcoef(given, guessed)[0, 1]) if name == "pearson" else spearman(given, guessed)
        found |= {name: value, f"{name}_ci": None if value is None else fisher(value, len(given), spread)}
    return found


def fisher(correlation: float, n: int, spread: float = 1.0) -> list[float]:
    """95 % interval of a correlation over n > 3 rows: tanh(atanh r -+ 1.96 sqrt(spread / (n - 3))), Fisher 1921."""
    z, half = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, correlation))), 1.96 * math.sqrt(spread / (n - 3))
    return [math.tanh(z - half), math.tanh(z + half)]
