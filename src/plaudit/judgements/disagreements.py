"""What people do not agree on: the queue of whoever adjudicates, the most to be learned first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plaudit.judgements.base import Ballot, current, identified
from plaudit.judgements.quality.annotators import estimated_accuracies
from plaudit.judgements.quality.ballots import YES, ballots_of, crowd, opinions, truths
from plaudit.judgements.votes import by_item, probabilities
from plaudit.schema import Completion, Feedback


@dataclass(frozen=True)
class Disagreement:
    """One item on which two people or more gave different answers."""

    unit: str
    """The item, independent of sides; of marks and criteria one sentence or criterion."""
    question: str
    kind: str
    prompt_id: str
    completion_ids: tuple[str, ...]
    """In alphabetical order: of a pair `first` and `second`."""
    values: tuple[tuple[str, str], ...]
    """(annotator as source:name, answer) in the order in which they came."""
    probability: float | None
    """P(first better, thumb up, criterion met, no fault); None for stars and classes."""
    entropy: float
    """In bits: 1 where the votes leave it open, 0 where they settle it."""
    feedback_ids: tuple[str, ...]


def disagreements(feedback: Sequence[Feedback], completions: Sequence[Completion] = ()) -> list[Disagreement]:
    """Items with different answers that no adjudication settles, by entropy of what the votes come to, then by item.

    Annotators weigh by their estimated accuracy, so two careless votes against a careful one leave more open than they seem.
    For stars and classes the entropy is that of the answers given, over its maximum.
    """
    acts = current(identified(feedback))
    ballots = ballots_of(acts.values(), completions)
    final, accuracy = truths(ballots), estimated_accuracies(ballots)
    groups: dict[tuple[str, str], list[Ballot]] = {}
    for one in crowd(ballots):
        groups.setdefault((one.question, one.item), []).append(one)
    found = [
        _disagreement(mine, acts, accuracy)
        for item, mine in groups.items()
        if item not in final and len({one.annotator for one in mine}) > 1 and len({one.value for one in mine}) > 1
    ]
    return sorted(found, key=lambda one: (-one.entropy, one.question, one.unit))


def _disagreement(mine: Sequence[Ballot], acts: Mapping[str, Feedback], accuracy: Mapping[str, float]) -> Disagreement:
    shown = acts[mine[0].act].assignment
    probability = None
    if all(one.value in YES for one in mine):
        (probability,) = probabilities(by_item(opinions(mine)), accuracies=accuracy)
        entropy = _bits([probability, 1 - probability])
    else:
        counts = [sum(one.value == value for one in mine) for value in {one.value for one in mine}]
        entropy = _bits([count / len(mine) for count in counts]) / math.log2(len(mine))
    return Disagreement(
        unit=mine[0].item,
        question=mine[0].question,
        kind=shown.kind,
        prompt_id=shown.prompt_id,
        completion_ids=tuple(sorted(shown.completion_ids)),
        values=tuple((one.annotator, str(one.value)) for one in mine),
        probability=probability,
        entropy=entropy,
        feedback_ids=tuple(dict.fromkeys(one.act for one in mine)),
    )


def _bits(shares: Sequence[float]) -> float:
    return -sum(share * math.log2(share) for share in shares if share > 0)
