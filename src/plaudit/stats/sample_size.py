"""How many prompts a comparison needs: before it, to plan; after it, to say how far it is from a decision."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from numpy.typing import ArrayLike

from plaudit.stats.arrays import Floats, Interval, floats


class Decision(NamedTuple):
    """What a comparison says by now, and what it would still take."""

    verdict: str
    """a, b, or undecided."""
    rate: Interval
    """The win rate of a with its interval by the normal approximation."""
    more: int | None
    """Further prompts until an interval of this rate and spread leaves 1/2; 0 where it does, None where the rate is 1/2."""
    detectable: float
    """The smallest win rate above 1/2 that this number of prompts shows in 80 % of all cases."""


def pairs_for_win_rate(rate: float, *, ties: float = 0.0, power: float = 0.8, alpha: float = 0.05) -> int:
    """Prompts until a two-sided test at `alpha` shows, with probability `power`, that a true win rate is not 1/2.

    n = ((z_(1 - alpha/2) s_0 + z_power s_1) / (rate - 1/2))^2, s the deviation of {1, 1/2, 0} under 1/2 and under `rate`;
    `ties` is their share, a tie counts 1/2.
    """
    _checked(rate, ties)
    if rate == 0.5:
        raise ValueError("no number of prompts tells a win rate of 1/2 from 1/2")
    error, quantile = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    need = (error * _deviation(0.5, ties) + quantile * _deviation(rate, ties)) / (rate - 0.5)
    return math.ceil(need * need - 1e-9)


def detectable_win_rate(n: int, *, ties: float = 0.0, power: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest win rate above 1/2 that `n` prompts show with probability `power`; 1 - ties/2 where none can be shown."""
    if n < 1:
        raise ValueError(f"at least one prompt is needed, got {n}")
    low, high = 0.5, 1 - ties / 2
    for _ in range(60):
        middle = (low + high) / 2
        if middle > 0.5 and pairs_for_win_rate(middle, ties=ties, power=power, alpha=alpha) <= n:
            high = middle
        else:
            low = middle
    return high


def decision(wins: ArrayLike, *, level: float = 0.95) -> Decision:
    """Where a comparison stands. `wins` is one value per prompt: 1, 0, or between (a tie, or the mean of two orders)."""
    values = floats(wins, "wins", 0, 1)
    n, rate, z = len(values), float(values.mean()), NormalDist().inv_cdf((1 + level) / 2)
    # A win and a loss more in the spread keep a few equal outcomes from being certain.
    deviation = math.sqrt((float(((values - rate) ** 2).sum()) + (1 - rate) ** 2 + rate**2) / n)
    half = z * deviation / math.sqrt(n)
    interval = Interval(rate, max(0.0, rate - half), min(1.0, rate + half))
    verdict = "a" if interval.low > 0.5 else "b" if interval.high < 0.5 else "undecided"
    more = None if rate == 0.5 else max(0, math.ceil((z * deviation / (rate - 0.5)) ** 2) - n)
    return Decision(verdict, interval, 0 if verdict != "undecided" else more, detectable_win_rate(n, ties=_ties(values)))


def _ties(values: Floats) -> float:
    return float((values == 0.5).mean())


def _checked(rate: float, ties: float) -> None:
    if not 0 <= ties < 1 or not ties / 2 <= rate <= 1 - ties / 2:
        raise ValueError(f"a win rate lies within [ties/2, 1 - ties/2], got {rate} with {ties} ties")


def _deviation(rate: float, ties: float) -> float:
    return math.sqrt(max(0.0, rate - ties / 2 + ties / 4 - rate * rate))
