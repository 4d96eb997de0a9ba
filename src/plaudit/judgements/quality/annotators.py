"""Each annotator by themselves: estimated accuracy, gold questions, time, sides, streaks, repeats, and what to look at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean, median

from plaudit.judgements.base import Ballot
from plaudit.judgements.quality.ballots import Item, by_annotator, crowd, opinions, plurality, same, truths, units
from plaudit.judgements.votes import PRIOR, UNKNOWN, accuracies_of, by_item, probabilities
from plaudit.stats import Interval, Verdict, dawid_skene, gold_test, rating_consensus, wilson

SECONDS, WORDS_A_SECOND = 2.0, 15.0
"""An answer is too fast below this time, and where more words a second were to be read."""
BEHIND = 0.15
"""Agreement with the others that lies this far below everybody's is to be looked at."""
POOR = 0.60
SURE = 2.576
"""Standard errors of a two-sided test at 1 %."""
LEAST = 20
"""Answers compared with others' before agreement with them is held against somebody."""


@dataclass(frozen=True)
class AnnotatorQuality:
    """One annotator: `source:name`, acts, how many of them were ties, the estimated accuracy, the share of left choices."""

    name: str
    acts: int
    ties: int
    accuracy: float
    """Of the one-coin model, prior included: the prior mean .755 where nobody else judged the same items."""
    left: Interval | None
    """Share of left among the choices that were no ties, with its Wilson interval."""
    seconds: float | None
    """Median time for one act, where it was measured."""
    too_fast: int = 0
    """Acts that took less than 2 s, or less than the words shown can be read in."""
    streak: int = 0
    """Longest run of choices of one side."""
    gold: Interval | None = None
    """Share right on what adjudications settle."""
    gold_answers: int = 0
    gold_verdict: str = "undecided"
    """good, poor or undecided: a sequential test of .85 against .60."""
    agrees: Interval | None = None
    """Share of agreement with what most of the others say."""
    compared: int = 0
    """Answers that `agrees` is made of."""
    repeats: Interval | None = None
    """Share of the same answer where the same question came again."""
    leniency: float | None = None
    """Stars that this person gives more than others."""
    spread: float | None = None
    """Standard deviation of the stars around what the answers are worth."""
    share: float = 0.0
    """Of all acts."""
    flags: tuple[str, ...] = ()
    """What to look at, in words."""

    @property
    def source(self) -> str:
        return self.name.split(":", 1)[0]


def annotator_qualities(ballots: Sequence[Ballot]) -> tuple[AnnotatorQuality, ...]:
    """Everybody who gave an act that is no adjudication, by name."""
    raw = [one for one in ballots if not one.settles]
    accuracy, stars = estimated_accuracies(ballots), _stars(raw)
    agrees = _agreements(ballots)
    everybody = _everybody(agrees)
    total = len({_act(one) for one in raw})
    settled = truths(ballots)
    return tuple(
        _quality(name, mine, accuracy.get(name, UNKNOWN), agrees.get(name), everybody, settled, stars.get(name), total)
        for name, mine in by_annotator(raw).items()
    )


def _quality(
    name: str,
    mine: Sequence[Ballot],
    accuracy: float,
    agrees: tuple[int, int] | None,
    everybody: float | None,
    settled: Mapping[Item, Ballot],
    stars: tuple[float, float] | None,
    total: int,
) -> AnnotatorQuality:
    right = [same(one.value, settled[one.question, one.item].value) for one in mine if (one.question, one.item) in settled]
    verdict = gold_test(sum(right), len(right) - sum(right))
    sides = [one.left for one in mine if one.left is not None]
    times = [one.seconds for one in mine if one.seconds is not None]
    fast = sum(one.seconds is not None and one.seconds < _least(one) for one in mine)
    acts = len({_act(one) for one in mine})
    found = AnnotatorQuality(
        name=name,
        acts=acts,
        ties=sum(one.value == "tie" and one.preference for one in mine),
        accuracy=accuracy,
        left=wilson(sum(sides), len(sides)) if sides else None,
        seconds=median(times) if times else None,
        too_fast=fast,
        streak=max((len(list(run)) for _, run in groupby(sides)), default=0),
        gold=wilson(sum(right), len(right)) if right else None,
        gold_answers=len(right),
        gold_verdict=verdict.decision,
        agrees=wilson(*agrees) if agrees and agrees[1] else None,
        compared=agrees[1] if agrees else 0,
        repeats=_repeats(mine),
        leniency=stars[0] if stars else None,
        spread=stars[1] if stars else None,
        share=acts / total,
    )
    return AnnotatorQuality(**{**vars(found), "flags": _flags(found, sides, len(times), verdict, everybody)})


def _flags(
    one: AnnotatorQuality, sides: Sequence[bool], timed: int, verdict: Verdict, everybody: float | None
) -> tuple[str, ...]:
    """In kind words: reasons to look, no verdicts."""
    found = []
    if verdict.decision == "poor":
        found.append(f"misses gold questions ({one.gold_answers} asked)")
    agrees = one.agrees if one.compared >= LEAST else None
    if agrees and everybody is not None and agrees.mean < everybody - BEHIND and agrees.high < everybody:
        found.append(f"often of another opinion than the others ({agrees.mean:.2f}; everybody {everybody:.2f})")
    if one.accuracy < POOR:
        found.append(f"estimated accuracy {one.accuracy:.2f}")
    if sides and not _holds_half(sum(sides), len(sides)):
        found.append(f"prefers the {'left' if 2 * sum(sides) > len(sides) else 'right'} side")
    if one.streak >= longest_by_chance(len(sides)):
        found.append(f"the same side {one.streak} times on end")
    if timed >= LEAST and one.too_fast > 0.1 * timed:
        found.append(f"{one.too_fast} of {timed} answers too fast to have read them")
    if one.repeats and one.repeats.high < 0.75:
        found.append("answers the same question differently the second time")
    return tuple(found)


def longest_by_chance(choices: int) -> int:
    """Length of a run of one side that comes up by chance in less than 1 of 1,000 such series; 12 at least.

    The chance of a run of L somewhere in n fair choices is below n 2^-L.
    """
    return max(12, math.ceil(math.log2(max(1, choices) * 1000)))


def _holds_half(successes: int, n: int) -> bool:
    band = wilson(successes, n, SURE)
    return band.low <= 0.5 <= band.high


def _least(one: Ballot) -> float:
    return max(SECONDS, (one.words or 0) / WORDS_A_SECOND)


def _act(one: Ballot) -> tuple[str, ...]:
    return (one.act,) if one.act else (one.annotator, one.question, one.item)


def _repeats(mine: Sequence[Ballot]) -> Interval | None:
    """Agreement with oneself, from one time to the next."""
    before: dict[Item, Ballot] = {}
    held = []
    for one in mine:
        item = (one.question, one.item)
        if item in before:
            held.append(before[item].value == one.value)
        before[item] = one
    return wilson(sum(held), len(held)) if held else None


def _agreements(ballots: Sequence[Ballot]) -> dict[str, tuple[int, int]]:
    """Annotator -> (answers that most of the others give too, answers compared). Everybody is held against people."""
    counted = units(one for one in ballots if not one.settles)
    people = {one.annotator for one in crowd(ballots)}
    found: dict[str, tuple[int, int]] = {}
    for unit in counted.values():
        for name, one in unit.items():
            others = plurality(other for who, other in unit.items() if who != name and who in people)
            if others is not None:
                right, all_of_them = found.get(name, (0, 0))
                found[name] = right + same(one.value, others), all_of_them + 1
    return found


def _everybody(agrees: Mapping[str, tuple[int, int]]) -> float | None:
    """The median annotator's agreement with the others: one careless person among three does not move it."""
    shares = [right / count for right, count in agrees.values() if count >= LEAST]
    return median(shares) if shares else None


def estimated_accuracies(ballots: Sequence[Ballot]) -> dict[str, float]:
    """Annotator -> P(right): the mean over a one-coin model of all answers for or against and one of classes.

    People alone make the model; a judge model is measured against what they probably mean, with the same prior.
    """
    people = {one.annotator for one in crowd(ballots)}
    cast = opinions(ballots)
    groups = by_item([one for one in cast if one.settles or one.annotator in people])
    found = {who: [a] for who, a in accuracies_of(groups).items()}
    truth = {group[0].item: p for group, p in zip(groups, probabilities(groups), strict=True)}
    for who in {one.annotator for one in cast} - people:
        votes = [(one.value, truth[one.item]) for one in cast if one.annotator == who and one.item in truth and not one.settles]
        right = sum(abs(2 * v - 1) * (p if v > 0.5 else 1 - p) for v, p in votes)
        weight = sum(abs(2 * v - 1) for v, _ in votes)
        found[who] = [(PRIOR[0] + right) / (sum(PRIOR) + weight)]
    for who, a in _class_accuracies(ballots).items():
        found.setdefault(who, []).append(a)
    return {who: fmean(each) for who, each in found.items()}


def _class_accuracies(ballots: Sequence[Ballot]) -> dict[str, float]:
    """The one-coin model of classes, over the questions whose answers are other names than for and against."""
    from_names = [one for one in crowd(ballots) if one.level == "nominal" and not opinions([one])]
    named = [one for one in from_names if one.value != "does not apply"]
    by_question: dict[str, list[Ballot]] = {}
    for one in named:
        by_question.setdefault(one.question, []).append(one)
    found: dict[str, list[float]] = {}
    for mine in by_question.values():
        classes = {value: i for i, value in enumerate(sorted({one.value for one in mine}, key=str))}
        if len(classes) < 2:
            continue
        answered = units(mine)
        people = {who: i for i, who in enumerate(sorted({one.annotator for one in mine}))}
        votes = [(i, people[w], classes[b.value]) for i, unit in enumerate(answered.values()) for w, b in unit.items()]
        model = dawid_skene(votes, len(classes), one_coin=True)
        for who, i in people.items():
            found.setdefault(who, []).append(float(model.accuracy[i]))
    return {who: fmean(each) for who, each in found.items()}


def _stars(raw: Sequence[Ballot]) -> dict[str, tuple[float, float]]:
    """Annotator -> leniency and spread, over all questions whose answers are numbers."""
    rated = units(one for one in raw if one.level != "nominal")
    people = {who: i for i, who in enumerate(sorted({who for unit in rated.values() for who in unit}))}
    if not people:
        return {}
    model = rating_consensus(
        [(i, people[who], float(b.value)) for i, unit in enumerate(rated.values()) for who, b in unit.items()]
    )
    return {who: (float(model.bias[i]), float(model.deviation[i])) for who, i in people.items()}
