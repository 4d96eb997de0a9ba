"""An answer edited by hand: a demonstration, and the preference of the edit over what the model wrote."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from plaudit.judgements.base import Conversion, Kind, converted, gather, settled, target
from plaudit.judgements.forms import written
from plaudit.judgements.votes import UNKNOWN, weight
from plaudit.schema import JSON, Completion, Demonstration, Feedback, Prompt, Ranking

NAME = "correction"


def read(form: Mapping[str, Any]) -> JSON:
    """`{"text": "the answer as it should be"}` from a form, with `reasons` and `comment` if any."""
    return written(form, NAME).to_json()


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    into: str | None = None,
    accuracies: Mapping[str, float] | None = None,
) -> Conversion:
    """`demonstrations`: each edit, weighted by who made it. `rankings`: each edit over the answer that it mends.

    A text that is the answer unchanged says that it is good: a demonstration, and no pair. The pair's probability is the
    accuracy of who edited. Several people's edits of one answer are several rows; an adjudication overrules the others.
    """
    wanted = target(into, KIND)
    judged, counts = gather(NAME, KIND.shows, partial(written, kind=NAME), feedback, completions, prompts, needs="text")
    counts["unchanged"] = 0
    rows: list[tuple[Any, list[str]]] = []
    for one in settled(judged, counts):
        before, after = one.answers[0].text, one.said.text
        counts["unchanged"] += before == after
        share = 1.0 if one.settles else weight(accuracies, one.annotator)
        if wanted == "demonstrations":
            rows.append((Demonstration(one.prompt, after, share), [one.id]))
        elif before != after:
            sure = 1.0 if one.settles else (accuracies or {}).get(one.annotator, UNKNOWN)
            meta = {"rejected_id": one.answers[0].id, "edited": True, "sources": [one.act.source], "feedback": [one.id]}
            rows.append((Ranking(one.prompt, (after, before), probability=sure, meta=meta), [one.id]))
    return converted(rows, counts, wanted, feedback)


KIND = Kind(NAME, "demonstrations", read, convert, ("demonstrations", "rankings"), (1, 1), ("text", "comment"))
