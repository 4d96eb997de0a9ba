"""A thumb up or down, with reasons: labels for KTO, and the answers that people liked as demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaudit.judgements.base import ADJUDICATION, Ballot, Conversion, Judged, Kind, annotator, converted, gather, parsed, target
from plaudit.judgements.forms import Payload, only, remarks, whole
from plaudit.judgements.votes import Aggregate, Opinion, by_item, decisive, probabilities
from plaudit.schema import JSON, Completion, Demonstration, Feedback, Label, Prompt

NAME = "thumb"


@dataclass(frozen=True)
class Thumb(Payload):
    """`value` is 1 for up, 0 for down."""

    value: int


def parse(form: Mapping[str, Any]) -> Thumb:
    """UserError where `value` is neither 0 nor 1."""
    only(form, ("value", "reasons", "comment"), NAME)
    given = dict(form)
    if isinstance(given.get("value"), bool):
        given["value"] = int(given["value"])
    return Thumb(value=whole(given, "value", 0, 1, None, NAME), **remarks(form, NAME))


def read(form: Mapping[str, Any]) -> JSON:
    """`{"value": 0 | 1}` from a form, with `reasons` and `comment` if any."""
    return parse(form).to_json()


def opinion(one: Judged) -> Opinion:
    """The act as an opinion on its answer."""
    return Opinion((one.answers[0].id,), one.annotator, float(one.said.value), one.id, one.settles)


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    into: str | None = None,
    accuracies: Mapping[str, float] | None = None,
    aggregate: Aggregate = "posterior",
) -> Conversion:
    """`labels`: one for each answer judged, 1 or 0, KTO's. `demonstrations`: the answers that are probably good, for SFT.

    The thumbs of several people become P(good) as in `pairwise.convert`; the row's weight is |2 P - 1|, how far that is from a
    coin. An answer on which people are even is counted as tied.
    """
    wanted = target(into, KIND)
    judged, counts = gather(NAME, KIND.shows, parse, feedback, completions, prompts)
    return of_opinions(judged, [opinion(one) for one in judged], counts, wanted, feedback, aggregate, accuracies)


def of_opinions(
    judged: Sequence[Judged],
    opinions: Sequence[Opinion],
    counts: dict[str, int],
    wanted: str,
    order: Sequence[Feedback],
    aggregate: Aggregate,
    accuracies: Mapping[str, float] | None,
) -> Conversion:
    """Labels or demonstrations from opinions on whole answers, whatever kind they came from."""
    answers = {one.answers[0].id: one for one in judged}
    groups = by_item(opinions)
    counts |= {"tied": 0, "overruled": 0} | ({"not_liked": 0} if wanted == "demonstrations" else {})
    rows: list[tuple[Any, list[str]]] = []
    for group, probability in zip(groups, probabilities(groups, aggregate, accuracies), strict=True):
        deciding = decisive(group)
        counts["overruled"] += len(group) - len(deciding)
        sure = abs(2 * probability - 1)
        if sure < 1e-9:
            counts["tied"] += len(deciding)
            continue
        on = answers[group[0].item[0]]
        if wanted == "labels":
            rows.append((Label(on.prompt, on.answers[0].text, float(probability > 0.5), sure), [one.id for one in deciding]))
        elif probability > 0.5:
            rows.append((Demonstration(on.prompt, on.answers[0].text, sure), [one.id for one in deciding]))
        else:
            counts["not_liked"] += len(deciding)
    return converted(rows, counts, wanted, order)


def ballots(act: Feedback, identity: str, texts: Mapping[str, str]) -> list[Ballot]:
    (shown,) = act.assignment.completion_ids
    said: Thumb = parsed(parse, act, identity)
    return [
        Ballot(
            NAME,
            shown,
            annotator(act),
            "up" if said.value else "down",
            settles=act.assignment.reason == ADJUDICATION,
            seconds=act.seconds,
            words=len(texts[shown].split()) if shown in texts else None,
            act=identity,
            prompt_id=act.assignment.prompt_id,
        )
    ]


KIND = Kind(NAME, "labels", read, convert, ("labels", "demonstrations"), (1, 1), ("comment",), ballots)
