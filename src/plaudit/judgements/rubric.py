"""A list of criteria, each met or not: a label between 0 and 1, and the answer rated by criterion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaudit.judgements.base import ADJUDICATION, Ballot, Conversion, Judged, Kind, annotator, converted, gather, parsed, target
from plaudit.judgements.forms import Payload, only, remarks, table
from plaudit.judgements.votes import Aggregate, Opinion, by_item, decisive, probabilities
from plaudit.schema import JSON, Completion, Feedback, Label, Prompt, Rated, UserError

NAME = "rubric"
WORDS = {"true": True, "yes": True, "false": False, "no": False, "": None}


@dataclass(frozen=True)
class Rubric(Payload):
    """Criterion -> whether the answer meets it; None where it does not apply."""

    criteria: dict[str, bool | None]


def parse(form: Mapping[str, Any]) -> Rubric:
    """UserError where there are no criteria, or one is neither true, false nor null. Web forms may send yes and no."""
    only(form, ("criteria", "reasons", "comment"), NAME)
    given = table(form, "criteria", NAME)
    if not given:
        raise UserError(f"field 'criteria' of a {NAME} judgement must say of each criterion whether it is met")
    criteria: dict[str, bool | None] = {}
    for name, value in given.items():
        met = WORDS.get(value, value) if isinstance(value, str) else value
        if met is not None and not isinstance(met, bool):
            raise UserError(f"criterion '{name}' of a {NAME} judgement must be true, false or null, got {str(value)[:60]!r}")
        criteria[name] = met
    return Rubric(criteria=criteria, **remarks(form, NAME))


def read(form: Mapping[str, Any]) -> JSON:
    """`{"criteria": {"cites a source": true}}` from a form, with `reasons` and `comment` if any."""
    return parse(form).to_json()


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    into: str | None = None,
    accuracies: Mapping[str, float] | None = None,
    aggregate: Aggregate = "posterior",
    weights: Mapping[str, float] | None = None,
) -> Conversion:
    """`labels`: the share of the criteria met, weighted by `weights` (1 where not named). `aspects`: P(met) by criterion.

    The judgements of several people become P(met) as in `pairwise.convert`, criterion by criterion. Criteria that do not apply
    count neither way; an answer to which none applies is counted.
    """
    wanted = target(into, KIND)
    judged, counts = gather(NAME, KIND.shows, parse, feedback, completions, prompts)
    groups = by_item(_opinions(judged))
    chance = probabilities(groups, aggregate, accuracies)
    counts |= {"overruled": 0, "none_applies": 0}
    met: dict[str, dict[str, float]] = {}
    ids: dict[str, list[str]] = {}
    for group, probability in zip(groups, chance, strict=True):
        answer, criterion = group[0].item
        met.setdefault(answer, {})[criterion] = probability
        ids.setdefault(answer, []).extend(one.id for one in decisive(group))
    rows: list[tuple[Any, list[str]]] = []
    for identity, one in {one.answers[0].id: one for one in judged}.items():
        if identity not in met:
            counts["none_applies"] += 1
            continue
        share = {name: (weights or {}).get(name, 1.0) for name in met[identity]}
        if wanted == "aspects":
            row: Any = Rated(one.prompt, one.answers[0].text, scores=met[identity])
        elif sum(share.values()) <= 0:
            raise UserError(f"the weights of the criteria of completion {identity} must add up to more than 0")
        else:
            total = sum(share[name] * p for name, p in met[identity].items()) / sum(share.values())
            row = Label(one.prompt, one.answers[0].text, total)
        rows.append((row, sorted(set(ids[identity]))))
    done = {identity for _, mine in rows for identity in mine}
    counts["overruled"] = len({one.id for one in judged if one.answers[0].id in met} - done)
    return converted(rows, counts, wanted, feedback)


def _opinions(judged: Sequence[Judged]) -> list[Opinion]:
    return [
        Opinion((one.answers[0].id, name), one.annotator, float(value), one.id, one.settles)
        for one in judged
        for name, value in one.said.criteria.items()
        if value is not None
    ]


def ballots(act: Feedback, identity: str, texts: Mapping[str, str]) -> list[Ballot]:
    """One on each criterion; the time stands on the first."""
    (shown,) = act.assignment.completion_ids
    said: Rubric = parsed(parse, act, identity)
    return [
        Ballot(
            f"{NAME}: {name}",
            shown,
            annotator(act),
            {True: "met", False: "not met", None: "does not apply"}[value],
            settles=act.assignment.reason == ADJUDICATION,
            seconds=act.seconds if i == 0 else None,
            words=len(texts[shown].split()) if shown in texts and i == 0 else None,
            act=identity,
            prompt_id=act.assignment.prompt_id,
        )
        for i, (name, value) in enumerate(said.criteria.items())
    ]


KIND = Kind(NAME, "labels", read, convert, ("labels", "aspects"), (1, 1), ("comment",), ballots)
