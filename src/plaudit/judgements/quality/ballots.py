"""From acts to ballots, and how ballots are grouped: who counts as the crowd, what each item was answered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from plaudit.judgements.base import Ballot, current, identified
from plaudit.judgements.votes import Opinion
from plaudit.registry import find
from plaudit.schema import Completion, Feedback

Item = tuple[str, str]
"""Question and item."""
YES = {"first": 1.0, "second": 0.0, "tie": 0.5, "up": 1.0, "down": 0.0, "met": 1.0, "not met": 0.0, "none": 1.0, "fault": 0.0}
"""The answers that are for or against, as numbers; `does not apply` is neither."""


def ballots_of(feedback: Iterable[Feedback], completions: Iterable[Completion] = ()) -> list[Ballot]:
    """The ballots of all current acts, in the order of the acts; kinds without ballots (texts, corrections) have none.

    UserError for an act whose judgement its kind refuses, and for a kind that is not installed.
    """
    texts = {completion.id: completion.text for completion in completions}
    acts = current(identified(feedback))
    kinds = {name: find("judgements", name) for name in dict.fromkeys(act.assignment.kind for act in acts.values())}
    found: list[Ballot] = []
    for identity, act in acts.items():
        cast = kinds[act.assignment.kind].ballots
        if cast is not None:
            found += cast(act, identity, texts)
    return found


def crowd(ballots: Sequence[Ballot]) -> list[Ballot]:
    """The votes that agreement is measured on: people's (or simulated people's), not adjudications, not judge models.

    Where judge models alone have voted, theirs.
    """
    raw = [one for one in ballots if not one.settles]
    return [one for one in raw if one.source not in ("judge", "implicit")] or raw


def units(ballots: Iterable[Ballot]) -> dict[Item, dict[str, Ballot]]:
    """Item -> annotator -> the annotator's first ballot on it."""
    found: dict[Item, dict[str, Ballot]] = {}
    for one in ballots:
        found.setdefault((one.question, one.item), {}).setdefault(one.annotator, one)
    return found


def truths(ballots: Iterable[Ballot]) -> dict[Item, Ballot]:
    """What adjudications say of the items that they settle; of several the last."""
    return {(one.question, one.item): one for one in ballots if one.settles}


def opinions(ballots: Iterable[Ballot]) -> list[Opinion]:
    """The ballots that are for or against, as opinions on (question, item)."""
    return [
        Opinion((one.question, one.item), one.annotator, YES[one.value], one.act, one.settles)
        for one in ballots
        if isinstance(one.value, str) and one.value in YES
    ]


def plurality(ballots: Iterable[Ballot]) -> object | None:
    """The answer that most give; for numbers their mean; None where none is ahead."""
    values = [one.value for one in ballots]
    if values and all(isinstance(value, int | float) for value in values):
        return sum(values) / len(values)
    ahead = Counter(values).most_common(2)
    return None if not ahead or (len(ahead) == 2 and ahead[0][1] == ahead[1][1]) else ahead[0][0]


def same(given: object, wanted: object) -> bool:
    """Whether two answers agree: equal; numbers, such as stars, when they are at most one apart."""
    if isinstance(given, int | float) and isinstance(wanted, int | float):
        return abs(given - wanted) <= 1
    return given == wanted


def by_annotator(ballots: Iterable[Ballot]) -> Mapping[str, list[Ballot]]:
    """Annotator -> the annotator's ballots in order; annotators sorted by name."""
    found: dict[str, list[Ballot]] = {}
    for one in ballots:
        found.setdefault(one.annotator, []).append(one)
    return dict(sorted(found.items()))
