"""What the aspects of ratings say of the overall preference: where one says nothing of it, it need not weigh in a reward."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from plaudit.judgements import pairwise, ranking, rating
from plaudit.judgements.base import Ballot
from plaudit.judgements.quality.ballots import crowd, units
from plaudit.stats import Interval, wilson

OF_AN_ASPECT = f"{rating.NAME}: "
"""How the questions about aspects begin."""


@dataclass(frozen=True)
class AspectWorth:
    """One aspect beside what people prefer overall."""

    aspect: str
    prompts: int
    """On which somebody preferred one of two answers that others rated on the aspect."""
    goes_with: Interval | None
    """Share of these preferences that go with the aspect, each prompt counting once; one half is chance."""


def aspect_worths(ballots: Sequence[Ballot]) -> tuple[AspectWorth, ...]:
    """One for each aspect that people rated, in the order in which they come up.

    Who prefers an answer says so of a pair, in a ranking, or by more stars for the whole. That is held against the mean stars
    which *others* gave both answers on the aspect, since one's own stars for the whole colour those for the aspects (the halo
    of Thorndike 1920). Equal means count one half.
    """
    first = [one for unit in units(crowd(ballots)).values() for one in unit.values() if one.prompt_id]
    preferred = _preferences(first)
    found = []
    for question in dict.fromkeys(one.question for one in first if one.question.startswith(OF_AN_ASPECT)):
        given: dict[str, dict[str, float]] = {}
        for one in first:
            if one.question == question:
                given.setdefault(one.item, {})[one.annotator] = float(one.value)
        shares = [share for each in preferred.values() if (share := _share(each, given)) is not None]
        worth = wilson(sum(shares), len(shares)) if shares else None
        found.append(AspectWorth(question.removeprefix(OF_AN_ASPECT), len(shares), worth))
    return tuple(found)


def _preferences(ballots: Sequence[Ballot]) -> dict[str, list[tuple[str, str, str]]]:
    """Prompt -> (better answer, worse answer, who says so)."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    stars: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for one in ballots:
        if one.question in (pairwise.NAME, ranking.NAME) and one.value != "tie":
            pair = one.item.split("|")
            better, worse = pair if one.value == "first" else pair[::-1]
            found.setdefault(one.prompt_id, []).append((better, worse, one.annotator))
        elif one.question == rating.NAME:
            stars.setdefault((one.prompt_id, one.annotator), []).append((float(one.value), one.item))
    for (prompt_id, who), rated in stars.items():
        for (low, worse), (high, better) in itertools.combinations(sorted(rated), 2):
            if low < high:
                found.setdefault(prompt_id, []).append((better, worse, who))
    return found


def _share(preferences: Sequence[tuple[str, str, str]], given: dict[str, dict[str, float]]) -> float | None:
    """Of the preferences on one prompt those that go with what others gave; None where others gave nothing."""
    held = []
    for better, worse, who in preferences:
        of_better, of_worse = (
            [stars for person, stars in given.get(one, {}).items() if person != who] for one in (better, worse)
        )
        if of_better and of_worse:
            gap = fmean(of_better) - fmean(of_worse)
            held.append(0.5 if gap == 0 else float(gap > 0))
    return fmean(held) if held else None
