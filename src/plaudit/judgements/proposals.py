"""What the judgements say about the way they are asked for: changes of guideline, questions, weights, and whose acts count.

Each is decided by a person. The limits are rules of this house; those of agreement are the bands of `quality.agreement`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from plaudit.judgements import pairwise
from plaudit.judgements.base import current, identified
from plaudit.judgements.quality import Quality
from plaudit.judgements.quality.agreement import SHOWN, Agreement
from plaudit.judgements.quality.annotators import LEAST
from plaudit.judgements.quality.aspects import OF_AN_ASPECT
from plaudit.schema import Feedback
from plaudit.stats import Interval

ONE_ANSWER = 0.95
"""Share of one answer from which an aspect tells nothing apart."""
TIED_ACTS = 3
"""Acts on the pairs of one prompt, all of them ties, after which the prompt is not worth asking."""
LITTLE = 0.6
"""Share of the preferences that surely fewer than these go with, where an aspect says little of them."""
Rule = Literal["unclear", "drop", "same", "ties", "weight_unclear", "weight_unrelated", "leave_person", "leave_judge"]


@dataclass(frozen=True)
class Proposal:
    """One proposed change. `subject`: a question, an aspect, an annotator as `source:name`, or '' for prompts."""

    rule: Rule
    subject: str = ""
    prompt_ids: tuple[str, ...] = ()
    figures: dict[str, float] = field(default_factory=dict)
    """The evidence: what it follows from."""


def proposals(
    quality: Quality,
    feedback: Sequence[Feedback],
    aspects: Collection[str],
    left_out: Collection[str] = (),
    weights: Mapping[str, float] | None = None,
) -> list[Proposal]:
    """In the order of what they touch: guideline, questions, weights.

    `aspects` are those asked beside the stars, `weights` what they weigh in a reward, 1 where nothing is said.
    """
    unclear = [one for one in quality.questions if one.band in ("noise", "low") and one.items_judged_twice >= SHOWN]
    found = [Proposal("unclear", one.question, figures=_agreement(one)) for one in unclear]
    for one in quality.questions:
        aspect = one.question.removeprefix(OF_AN_ASPECT)
        if aspect == one.question or aspect not in aspects:
            continue
        answers = sum(one.answers.values())
        most = max(one.answers.values(), default=0) / max(1, answers)
        if answers >= SHOWN and most >= ONE_ANSWER:
            found.append(Proposal("same", aspect, figures={"answers": answers, "share": most}))
        elif one in unclear:
            found.append(Proposal("drop", aspect, figures=_agreement(one)))
    tied = always_tied(feedback)
    if tied:
        found.append(Proposal("ties", prompt_ids=tied, figures={"prompts": len(tied), "acts": TIED_ACTS}))
    found += _weights(quality, unclear, weights or {})
    for person in quality.annotators:
        if person.source == "judge" or person.name in left_out:
            continue
        against = person.agrees is not None and person.compared >= LEAST and person.agrees.high < 0.5
        if person.gold_verdict == "poor" and person.gold is not None:
            found.append(Proposal("leave_person", person.name, figures=_share(person.gold, person.gold_answers)))
        elif against and person.agrees is not None:
            found.append(Proposal("leave_person", person.name, figures=_share(person.agrees, person.compared)))
    for judge in quality.judges:
        below = judge.agrees is not None and judge.people is not None and judge.agrees.high < judge.people.low
        if below and judge.agrees is not None and judge.compared >= SHOWN and judge.name not in left_out:
            found.append(Proposal("leave_judge", judge.name, figures=_share(judge.agrees, judge.compared)))
    return found


def _weights(quality: Quality, unclear: Sequence[Agreement], weights: Mapping[str, float]) -> list[Proposal]:
    """Lower weights of aspects, to one decimal: the smaller one that the evidence says, where it is below the present one.

    Nobody agrees: alpha, the share of the ratings that is no noise, is the factor by which a noisy measure is drawn to the
    mean (Kelley 1947). It says little of what is preferred: 2 c - 1, where a share c goes with it (Somers' d, 1962).
    """
    by_aspect: dict[str, list[Proposal]] = {}
    for one in unclear:
        if one.question.startswith(OF_AN_ASPECT) and one.alpha is not None:
            aspect = one.question.removeprefix(OF_AN_ASPECT)
            lower = {"from": weights.get(aspect, 1.0), "to": round(max(0.0, one.alpha.mean), 1)}
            by_aspect.setdefault(aspect, []).append(Proposal("weight_unclear", aspect, figures=_agreement(one) | lower))
    for worth in quality.aspects:
        if worth.goes_with is not None and worth.prompts >= SHOWN and worth.goes_with.high < LITTLE:
            lower = {"from": weights.get(worth.aspect, 1.0), "to": round(max(0.0, 2 * worth.goes_with.mean - 1), 1)}
            figures = _share(worth.goes_with, worth.prompts) | lower
            by_aspect.setdefault(worth.aspect, []).append(Proposal("weight_unrelated", worth.aspect, figures=figures))
    lowest = [min(each, key=lambda one: one.figures["to"]) for each in by_aspect.values()]
    return [one for one in lowest if one.figures["to"] < one.figures["from"]]


def always_tied(feedback: Sequence[Feedback]) -> tuple[str, ...]:
    """Prompts on whose pairs people gave TIED_ACTS acts or more and never preferred an answer, in the order of the acts."""
    choices: dict[str, list[float]] = {}
    for act in current(identified(feedback)).values():
        if act.assignment.kind == pairwise.NAME and act.source == "human":
            choices.setdefault(act.assignment.prompt_id, []).append(pairwise.VALUE[act.judgement["choice"]])
    return tuple(prompt for prompt, said in choices.items() if len(said) >= TIED_ACTS and set(said) == {0.5})


def _agreement(one: Agreement) -> dict[str, float]:
    figure = one.decided if one.decided is not None else one.alpha
    assert figure is not None, "a band needs one"
    return _share(figure, one.items_judged_twice)


def _share(found: Interval, answers: int) -> dict[str, float]:
    return {"figure": found.mean, "low": found.low, "high": found.high, "answers": answers}
