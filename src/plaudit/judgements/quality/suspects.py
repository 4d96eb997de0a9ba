"""Labels that are probably wrong, by what the others say and, where given, by a reward model's scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from plaudit.judgements.base import Ballot
from plaudit.judgements.quality.annotators import estimated_accuracies
from plaudit.judgements.quality.ballots import YES, Item, crowd, truths
from plaudit.judgements.votes import UNKNOWN
from plaudit.stats import confident_learning, score_temperature


@dataclass(frozen=True)
class Suspect:
    """An answer to look at again; never one to delete unseen."""

    act: str
    question: str
    item: str
    annotator: str
    answer: str
    probability: float
    """That the answer is right, by all but itself."""


@dataclass(frozen=True)
class LabelErrors:
    """What confident learning finds."""

    examined: int
    """Answers on which there is other evidence: others' votes, or scores."""
    share: float | None
    """Estimated share of wrong answers among them."""
    with_scores: int
    """Of those, answers with a reward model's scores."""
    suspects: tuple[Suspect, ...]
    """The most doubtful first."""


def label_errors(ballots: Sequence[Ballot], scores: Mapping[str, float] | None = None) -> LabelErrors:
    """Answers for or against that the other evidence speaks against (`stats.confident_learning`); settled items left out.

    P(for) of an answer comes from the others' votes, each with its estimated accuracy, and from the gap of the two answers'
    `scores` (completion id -> score), scaled so that it fits the votes. Scores should come from a model that was not trained on
    these answers, or the model repeats their errors.
    """
    accuracy, final = estimated_accuracies(ballots), truths(ballots)
    cast = [(one, YES[one.value]) for one in crowd(ballots) if _decided(one) and _item(one) not in final]
    gaps = {_item(one): gap for one, _ in cast if (gap := _gap(one, scores or {})) is not None}
    scored = [(gaps[_item(one)], value) for one, value in cast if _item(one) in gaps]
    slope = score_temperature([gap for gap, _ in scored], [value for _, value in scored]) if scored else 0.0
    evidence: dict[Item, dict[str, float]] = {}
    for one, value in cast:
        a = min(0.98, max(0.02, accuracy.get(one.annotator, UNKNOWN)))
        evidence.setdefault(_item(one), {})[one.annotator] = (2 * value - 1) * math.log(a / (1 - a))
    kept: list[tuple[Ballot, float, float]] = []
    for one, value in cast:
        others = [said for who, said in evidence[_item(one)].items() if who != one.annotator]
        if others or (_item(one) in gaps and slope > 0):
            logit = sum(others) + slope * gaps.get(_item(one), 0.0)
            kept.append((one, value, 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))))
    if not kept:
        return LabelErrors(0, None, 0, ())
    chances = np.array([[1 - p, p] for _, _, p in kept])
    found = confident_learning([int(value) for _, value, _ in kept], chances)
    suspects = [
        Suspect(one.act, one.question, one.item, one.annotator, str(one.value), p if value else 1 - p)
        for (one, value, p), doubtful in zip(kept, found.suspect, strict=True)
        if doubtful
    ]
    suspects.sort(key=lambda one: (one.probability, one.item, one.annotator))
    return LabelErrors(len(kept), found.share, sum(_item(one) in gaps for one, _, _ in kept), tuple(suspects))


def _item(one: Ballot) -> Item:
    return one.question, one.item


def _decided(one: Ballot) -> bool:
    """True for an answer for or against; a tie says nothing that could be wrong."""
    return isinstance(one.value, str) and YES.get(one.value, 0.5) != 0.5


def _gap(one: Ballot, scores: Mapping[str, float]) -> float | None:
    """Score of the first of a pair less that of the second; None for other questions and where a score is missing."""
    first, _, second = one.item.partition("|")
    return scores[first] - scores[second] if one.preference and first in scores and second in scores else None
