"""Marks on parts of an answer: which sentences are wrong, and so labels for each step and for the whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plaudit.judgements.base import ADJUDICATION, Ballot, Conversion, Judged, Kind, annotator, converted, gather, parsed, target
from plaudit.judgements.forms import Payload, choice, only, remarks, whole
from plaudit.judgements.thumb import of_opinions
from plaudit.judgements.votes import Aggregate, Opinion, by_item, decisive, probabilities
from plaudit.schema import JSON, Completion, Feedback, Prompt, Steps, UserError

NAME = "span"
TAGS = ("wrong", "unsupported", "unsafe", "great")
GOOD = ("great",)
MOST = 500
"""Marks in one answer."""
LONGEST = 10_000_000
SENTENCE = re.compile(r"[^\n.!?。！？]*(?:[.!?](?![\s\"'”’)\]]|$)[^\n.!?。！？]*)*(?:[.!?。！？]+[\"'”’)\]]*|\n|$)")


@dataclass(frozen=True)
class Span:
    """Letters `start` to `end` (not included) of the answer, counted in Unicode code points."""

    start: int
    end: int
    tag: str


@dataclass(frozen=True)
class Spans(Payload):
    """All marks of one answer in order; none says that nothing is to be marked."""

    spans: tuple[Span, ...]


def parse(form: Mapping[str, Any]) -> Spans:
    """UserError where a mark is empty, runs backwards, or has an unknown tag."""
    only(form, ("spans", "reasons", "comment"), NAME)
    given = form.get("spans")
    if not isinstance(given, list | tuple) or len(given) > MOST:
        raise UserError(f"field 'spans' of a {NAME} judgement must be a list of at most {MOST} marks")
    found = []
    for mark in given:
        only(mark, ("start", "end", "tag"), NAME)
        start = whole(mark, "start", 0, LONGEST, None, NAME)
        end = whole(mark, "end", start + 1, LONGEST, None, NAME)
        found.append(Span(start, end, choice(mark, "tag", TAGS, NAME)))
    ordered = sorted(set(found), key=lambda span: (span.start, span.end, span.tag))
    return Spans(spans=tuple(ordered), **remarks(form, NAME))


def read(form: Mapping[str, Any]) -> JSON:
    """`{"spans": [{"start": 0, "end": 12, "tag": "wrong"}]}` from a form, with `reasons` and `comment` if any."""
    return parse(form).to_json() | {"spans": [vars(span) for span in parse(form).spans]}


def sentences(answer: str) -> list[tuple[int, int]]:
    """Start and end of every sentence that is not blank: they end at a line break, at 。！？, and at .!? before a space."""
    found = []
    for match in SENTENCE.finditer(answer):
        piece = match[0]
        if piece.strip():
            start = match.start() + len(piece) - len(piece.lstrip())
            found.append((start, start + len(piece.strip())))
    return found


def _faults(act: Feedback, identity: str, said: Spans, answer: str) -> list[bool]:
    """For each sentence whether a mark says that something is wrong with it. UserError for a mark beyond the answer."""
    beyond = next((span for span in said.spans if span.end > len(answer)), None)
    if beyond is not None:
        raise UserError(f"feedback {identity}: a mark ends at letter {beyond.end}, but the answer has {len(answer)}")
    bad = [span for span in said.spans if span.tag not in GOOD]
    return [any(span.start < end and start < span.end for span in bad) for start, end in sentences(answer)]


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    into: str | None = None,
    accuracies: Mapping[str, float] | None = None,
    aggregate: Aggregate = "posterior",
) -> Conversion:
    """`steps`: each answer in its sentences, each with P(nothing is wrong with it). `labels`: 1 where the whole has no fault.

    A sentence is at fault where a mark other than `great` touches it. The judgements of several people become probabilities as
    in `pairwise.convert`, sentence by sentence.
    """
    wanted = target(into, KIND)
    judged, counts = gather(NAME, KIND.shows, parse, feedback, completions, prompts)
    faults = {one.id: _faults(one.act, one.id, one.said, one.answers[0].text) for one in judged}
    if wanted == "labels":
        whole_answers = [
            Opinion((j.answers[0].id,), j.annotator, float(not any(faults[j.id])), j.id, j.settles) for j in judged
        ]
        return of_opinions(judged, whole_answers, counts, "labels", feedback, aggregate, accuracies)
    opinions = [
        Opinion((one.answers[0].id, f"{i:06}"), one.annotator, float(not fault), one.id, one.settles)
        for one in judged
        for i, fault in enumerate(faults[one.id])
    ]
    groups = by_item(opinions)
    chance = {group[0].item: p for group, p in zip(groups, probabilities(groups, aggregate, accuracies), strict=True)}
    deciding = {group[0].item: [one.id for one in decisive(group)] for group in groups}
    counts |= {"overruled": len({one.id for one in judged} - {i for ids in deciding.values() for i in ids}), "empty": 0}
    return converted(_steps(judged, chance, deciding, counts), counts, "steps", feedback)


def _steps(
    judged: Sequence[Judged],
    chance: Mapping[tuple[str, ...], float],
    deciding: Mapping[tuple[str, ...], list[str]],
    counts: dict[str, int],
) -> list[tuple[Steps, list[str]]]:
    rows = []
    for identity, one in {one.answers[0].id: one for one in judged}.items():
        answer = one.answers[0].text
        places = sentences(answer)
        if not places:
            counts["empty"] += 1
            continue
        items = [(identity, f"{i:06}") for i in range(len(places))]
        row = Steps(one.prompt, tuple(answer[a:b] for a, b in places), tuple(chance[item] for item in items))
        rows.append((row, sorted({act for item in items for act in deciding[item]})))
    return rows


def ballots(act: Feedback, identity: str, texts: Mapping[str, str]) -> list[Ballot]:
    """One for each sentence of the answer, `fault` or `none`; nothing where the answer is not given."""
    (shown,) = act.assignment.completion_ids
    if shown not in texts:
        return []
    answer = texts[shown]
    return [
        Ballot(
            NAME,
            f"{shown}:{i}",
            annotator(act),
            "fault" if fault else "none",
            settles=act.assignment.reason == ADJUDICATION,
            seconds=act.seconds if i == 0 else None,
            words=len(answer.split()) if i == 0 else None,
            act=identity,
            prompt_id=act.assignment.prompt_id,
        )
        for i, fault in enumerate(_faults(act, identity, parsed(parse, act, identity), answer))
    ]


KIND = Kind(NAME, "steps", read, convert, ("steps", "labels"), (1, 1), ("comment",), ballots)
