"""How far people agree on each question, and what that means: bands that fit opinions, and bands for facts."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import NamedTuple, cast

from plaudit.judgements.base import Ballot
from plaudit.judgements.quality.ballots import crowd, units
from plaudit.stats import Interval, Level, cohen_kappa, percent_agreement
from plaudit.stats import agreement as figures_of

SHOWN, TRUSTED = 50, 200
"""Items judged twice from which agreement has a band, and from which it is trusted: alpha is within .18 and .09 then."""
ALPHA_FOR_FACTS = 0.667


class Band(NamedTuple):
    """From `low` up to the next band."""

    low: float
    name: str
    says: str


PREFERENCE = (
    Band(-1.0, "noise", "labels are close to noise: mend the guideline before asking more"),
    Band(0.60, "weak", "weaker than most published preference data: look at the disagreements"),
    Band(0.65, "usual", "what published preference data has"),
    Band(0.75, "good", "better than most published preference data"),
    Band(0.90, "suspicious", "very high for a matter of taste: are the questions too easy, or the votes copied?"),
)
"""Bands of the share of agreement on which of two answers is better, ties left out (house rule; see docs/quality.md)."""
OPINION = tuple(Band(2 * band.low - 1 if band.low > 0 else band.low, band.name, band.says) for band in PREFERENCE)
"""The same for alpha, where opinions are not between two: 2 A - 1, what alpha is for two balanced answers."""
FACT = (
    Band(-1.0, "low", "too low for facts: the criterion is not clear enough"),
    Band(ALPHA_FOR_FACTS, "tentative", "enough for tentative conclusions"),
    Band(0.80, "good", "reliable"),
)
"""Bands of alpha for what is not a matter of taste (Krippendorff 2018, chapter 12)."""


@dataclass(frozen=True)
class Agreement:
    """Agreement on one question; figures that nothing can be said about yet are None."""

    question: str
    level: str
    items: int
    items_judged_twice: int
    """By two different annotators at least: what agreement is measured on."""
    annotators: int
    answers: dict[str, int]
    """How often each answer was given."""
    percent: Interval | None
    """Share of agreeing pairs of answers, a tie being an answer."""
    unanimity: float | None
    """Share of the items judged twice on which all agree."""
    decided: Interval | None
    """Of preferences: the same share with ties left out."""
    cohen: float | None
    """Mean Cohen's kappa of every two annotators with ten common items; for stars with quadratic weights."""
    fleiss: Interval | None
    ac1: float | None
    alpha: Interval | None
    band: str
    says: str


def agreements(ballots: Sequence[Ballot], *, resamples: int = 1000, seed: int = 0) -> list[Agreement]:
    """One for each question, in the order in which the questions come up; judge models and adjudications left out."""
    by_question: dict[str, list[Ballot]] = {}
    for one in crowd(ballots):
        by_question.setdefault(one.question, []).append(one)
    return [_agreement(question, mine, resamples, seed) for question, mine in by_question.items()]


def _agreement(question: str, ballots: Sequence[Ballot], resamples: int, seed: int) -> Agreement:
    level = cast(Level, ballots[0].level)
    answered = units(ballots)
    values = [[one.value for one in unit.values()] for unit in answered.values()]
    found = figures_of(values, level, resamples=resamples, seed=seed)
    decided = None
    if ballots[0].preference:
        chosen = [[value for value in unit if value != "tie"] for unit in values]
        decided = interval(percent_agreement(chosen, resamples=resamples, seed=seed))
    alpha = interval(found.alpha)
    band, says = banded(ballots[0], decided, alpha, found.items)
    return Agreement(
        question=question,
        level=level,
        items=len(answered),
        items_judged_twice=found.items,
        annotators=len({one.annotator for one in ballots}),
        answers={str(value): count for value, count in sorted(Counter(one.value for one in ballots).items(), key=str)},
        percent=interval(found.percent),
        unanimity=number(found.unanimity),
        decided=decided,
        cohen=_cohen(list(answered.values()), level),
        fleiss=interval(found.fleiss),
        ac1=number(found.ac1),
        alpha=alpha,
        band=band,
        says=says,
    )


def banded(like: Ballot, decided: Interval | None, alpha: Interval | None, items: int) -> tuple[str, str]:
    """Name and meaning of the band. `like` tells preferences, opinions (stars, thumbs) and facts apart."""
    opinion = like.level == "ordinal" or like.question == "thumb"
    figure = decided if like.preference else alpha
    if figure is None:
        return "unknown", "nothing was judged by two people yet, or all gave one answer"
    if items < SHOWN:
        return "unknown", f"{SHOWN} items judged by two people are needed before agreement means something; there are {items}"
    bands = PREFERENCE if like.preference else OPINION if opinion else FACT
    band = [one for one in bands if figure.mean >= one.low][-1]
    sure = "" if items >= TRUSTED else f" (provisional: {TRUSTED} items judged twice settle it)"
    return band.name, band.says + sure


def _cohen(answered: Sequence[dict[str, Ballot]], level: Level) -> float | None:
    together: dict[tuple[str, str], list[tuple[object, object]]] = {}
    for unit in answered:
        for one, other in itertools.combinations(sorted(unit), 2):
            together.setdefault((one, other), []).append((unit[one].value, unit[other].value))
    kappas = [
        cohen_kappa([a for a, _ in both], [b for _, b in both], quadratic=level != "nominal")
        for both in together.values()
        if len(both) >= 10
    ]
    known = [kappa for kappa in kappas if isfinite(kappa)]
    return fmean(known) if known else None


def interval(found: Interval) -> Interval | None:
    """None for what cannot be said."""
    return found if all(map(isfinite, found)) else None


def number(found: float) -> float | None:
    return found if isfinite(found) else None
