"""Votes for one of two: several people's opinions become one probability, and votes on pairs become preference pairs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

from plaudit.judgements.base import Conversion, Judged, converted
from plaudit.schema import Completion, Feedback, Prompt, Ranking, UserError
from plaudit.stats import one_coin_dawid_skene

Aggregate = Literal["posterior", "majority"]
PRIOR = (20.0, 6.5)
"""Beta prior on an annotator's accuracy, mean .755. Strong on purpose: with few votes a weak one loses to the majority."""
UNKNOWN = PRIOR[0] / sum(PRIOR)


@dataclass(frozen=True)
class Opinion:
    """One annotator on one yes-or-no item: `value` 1 is yes, 0 is no, 1/2 neither."""

    item: tuple[str, ...]
    annotator: str
    value: float
    id: str
    """Of the act."""
    settles: bool


One = TypeVar("One", bound=Opinion)


@dataclass(frozen=True)
class Vote(Opinion):
    """An act on a pair without its sides: 1 says that the first of `pair` is better, 0 the second, 1/2 neither."""

    prompt_id: str
    strength: int
    act: Feedback
    share: float = 1.0
    """What the vote counts: a ranking of K answers is K (K - 1) / 2 votes, but K - 1 judgements."""

    @property
    def pair(self) -> tuple[str, str]:
        """Completion ids in alphabetical order, whatever side they were shown on."""
        first, second = self.item
        return first, second


def by_item(opinions: Sequence[One]) -> list[list[One]]:
    """The opinions on each item, items in the order in which they come up."""
    groups: dict[tuple[str, ...], list[One]] = {}
    for one in opinions:
        groups.setdefault(one.item, []).append(one)
    return list(groups.values())


def decisive(group: Sequence[One]) -> list[One]:
    """What decides on an item: the last adjudication given, else all opinions."""
    final = [one for one in group if one.settles]
    return final[-1:] or list(group)


def probabilities(
    groups: Sequence[Sequence[Opinion]], aggregate: Aggregate = "posterior", accuracies: Mapping[str, float] | None = None
) -> list[float]:
    """P(yes) for each item. Each annotator has one vote, the mean of the annotator's acts; an adjudication settles the item.

    `posterior`: the one-coin model of Dawid and Skene (`stats.one_coin_dawid_skene`), in which a settled item is known; with
    `accuracies` (annotator -> P(a vote is right)) these are taken instead of estimated. `majority`: the mean vote.
    """
    if aggregate not in ("posterior", "majority"):
        raise UserError(f"aggregate must be posterior or majority, got {aggregate!r}")
    if not groups:
        return []
    cast = [_means(group) for group in groups]
    known = {i: final[-1].value for i, group in enumerate(groups) if (final := [one for one in group if one.settles])}
    if aggregate == "majority":
        return [known.get(i, sum(each.values()) / max(1, len(each))) for i, each in enumerate(cast)]
    number = {who: i for i, who in enumerate(sorted({who for each in cast for who in each}))}
    ballots = [(item, number[who], value) for item, each in enumerate(cast) for who, value in each.items()]
    if not ballots:
        return [known[i] for i in range(len(groups))]
    fixed = None if accuracies is None else [accuracies.get(who, UNKNOWN) for who in number]
    posterior = one_coin_dawid_skene(ballots, PRIOR, known=known, accuracy=fixed, items=len(groups)).posterior
    return [float(p) for p in posterior]


def accuracies_of(groups: Sequence[Sequence[Opinion]]) -> dict[str, float]:
    """Annotator -> estimated P(a vote is right), over all items; settled items count as known."""
    cast = [_means(group) for group in groups]
    known = {i: final[-1].value for i, group in enumerate(groups) if (final := [one for one in group if one.settles])}
    number = {who: i for i, who in enumerate(sorted({who for each in cast for who in each}))}
    ballots = [(item, number[who], value) for item, each in enumerate(cast) for who, value in each.items()]
    if not ballots:
        return {}
    model = one_coin_dawid_skene(ballots, PRIOR, known=known, items=len(groups))
    return {who: float(model.accuracy[i]) for who, i in number.items()}


def _means(group: Sequence[Opinion]) -> dict[str, float]:
    """Annotator -> mean of the annotator's votes on the item; adjudications are no votes."""
    mine: dict[str, list[float]] = {}
    for one in group:
        if not one.settles:
            mine.setdefault(one.annotator, []).append(one.value)
    return {who: sum(values) / len(values) for who, values in mine.items()}


def weight(accuracies: Mapping[str, float] | None, who: str) -> float:
    """What a row that one person wrote counts: 2a - 1 over that of an unknown annotator, who so weighs 1; chance weighs 0."""
    a = UNKNOWN if accuracies is None else accuracies.get(who, UNKNOWN)
    return max(0.0, (2 * a - 1) / (2 * UNKNOWN - 1))


def pairs(
    votes: Sequence[Vote],
    judged: Sequence[Judged],
    counts: dict[str, int],
    order: Sequence[Feedback],
    aggregate: Aggregate = "posterior",
    accuracies: Mapping[str, float] | None = None,
) -> Conversion:
    """Preference pairs from votes, one for each pair of completions with a preference; ties and equal texts are counted.

    `judged` are the acts behind the votes, with their texts.
    """
    answers = {answer.id: answer for one in judged for answer in one.answers}
    prompts = {one.prompt.id: one.prompt for one in judged}
    place = {prompt_id: i for i, prompt_id in enumerate(prompts)}
    counts |= dict.fromkeys(("equal_texts", "tied", "overruled", "repeats"), 0)
    different = []
    for vote in votes:
        if answers[vote.pair[0]].text == answers[vote.pair[1]].text:
            counts["equal_texts"] += 1
        else:
            different.append(vote)
    ordered = sorted(different, key=lambda vote: (place[vote.prompt_id], vote.pair, vote.act.created_at, vote.id))
    groups: list[list[Vote]] = [list(group) for _, group in itertools.groupby(ordered, key=lambda vote: vote.pair)]
    rows = []
    for group, probability in zip(groups, probabilities(groups, aggregate, accuracies), strict=True):
        raw = [vote for vote in group if not vote.settles]
        counts["repeats"] += len(raw) - len({vote.annotator for vote in raw})
        deciding = decisive(group)
        counts["overruled"] += len(group) - len(deciding)
        if abs(probability - 0.5) < 1e-9:
            counts["tied"] += len(deciding)
            continue
        better, worse = group[0].pair if probability > 0.5 else group[0].pair[::-1]
        sure = max(probability, 1 - probability) if aggregate == "posterior" else 1.0
        row = _ranking(prompts[group[0].prompt_id], answers[better], answers[worse], sure, deciding)
        rows.append((row, sorted(vote.id for vote in deciding)))
    done = converted(rows, counts, "rankings", order)
    counts["pairs"] = counts.pop("rankings")
    return done


def _ranking(prompt: Prompt, chosen: Completion, rejected: Completion, probability: float, group: Sequence[Vote]) -> Ranking:
    meta = {
        "chosen_id": chosen.id,
        "rejected_id": rejected.id,
        "truncated": [chosen.truncated, rejected.truncated],
        "votes": len(group),
        "strength": sum(vote.strength for vote in group) / len(group),
        "sources": sorted({vote.annotator.split(":", 1)[0] for vote in group}),
        "feedback": sorted(vote.id for vote in group),
    }
    share = sum(vote.share for vote in group) / len(group)
    return Ranking(prompt, (chosen.text, rejected.text), probability=probability, weight=share, meta=meta)
