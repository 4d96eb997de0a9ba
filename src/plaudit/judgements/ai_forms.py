"""What a judge model can be asked: for each kind of judgement the askings, how its words are read, and the act they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaudit.judgements import ai_judge, ai_scales, pairwise, ranking, rating
from plaudit.schema import JSON, Assignment, Message, Prompt


@dataclass(frozen=True)
class Question:
    """A question with its texts, in the order of `shown`."""

    shown: Assignment
    prompt: Prompt
    texts: tuple[str, ...]
    aspects: tuple[str, ...] = ()
    """Of a rating: what is rated beside the whole."""


@dataclass(frozen=True)
class Form:
    """One kind of judgement."""

    asked: Callable[[str, Question], Sequence[tuple[Message, ...]]]
    """(rubric, question) -> the askings, each answered by itself."""
    read: Callable[[Question, str], Any]
    """The verdict in the words of one answer; None where they hold none."""
    judgement: Callable[[Sequence[Any], str], JSON]
    """(a verdict for each asking, comment) -> the act's judgement."""


FORMS: Mapping[str, Form] = {
    pairwise.NAME: Form(
        lambda rubric, one: [
            ai_judge.messages(rubric, one.prompt, *one.texts),
            ai_judge.messages(rubric, one.prompt, *one.texts[::-1]),
        ],
        lambda _, said: ai_judge.verdict(said),
        lambda verdicts, comment: ai_judge.judgement(verdicts[0], verdicts[1], comment),
    ),
    rating.NAME: Form(
        lambda rubric, one: [ai_scales.rate(rubric, one.prompt, one.texts[0], _scales(one))],
        lambda one, said: ai_scales.rated(said, _scales(one)),
        lambda verdicts, comment: ai_scales.stars(verdicts[0], comment),
    ),
    ranking.NAME: Form(
        lambda rubric, one: [
            ai_scales.rank(rubric, one.prompt, one.texts),
            ai_scales.rank(rubric, one.prompt, one.texts[::-1]),
        ],
        lambda one, said: ai_scales.ranked(said, len(one.texts)),
        lambda verdicts, comment: ai_scales.order(verdicts[0], verdicts[1], comment),
    ),
}


def _scales(one: Question) -> list[str]:
    return ai_scales.scales(one.prompt, one.texts[0], one.aspects)
