"""Free words on an answer. They train nothing by themselves: they become prompts in which the model revises its answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from plaudit.judgements.base import Conversion, Kind, converted, gather, settled, target
from plaudit.judgements.forms import written
from plaudit.schema import JSON, Completion, Feedback, Message, Prompt

NAME = "text"
ASK = "Rewrite your answer so that it takes this into account."


def read(form: Mapping[str, Any]) -> JSON:
    """`{"text": "what is wrong, what is right"}` from a form, with `reasons` and `comment` if any."""
    return written(form, NAME).to_json()


def convert(
    feedback: Sequence[Feedback],
    completions: Iterable[Completion],
    prompts: Iterable[Prompt],
    *,
    into: str | None = None,
    accuracies: Mapping[str, float] | None = None,
    ask: str = ASK,
) -> Conversion:
    """`prompts`: the conversation, the answer, the words on it, and `ask`: what the model writes to it is the revised answer.

    Imitation learning from language feedback (Scheurer et al. 2023, arXiv:2303.16755): sample revisions, keep the best, and
    fine-tune on them as answers to the first prompt, which `meta` names with the answer.
    """
    target(into, KIND)
    judged, counts = gather(NAME, KIND.shows, partial(written, kind=NAME), feedback, completions, prompts, needs="text")
    rows = []
    for one in settled(judged, counts):
        answer, words = one.answers[0].text, f"{one.said.text}\n\n{ask}"
        meta = {"prompt_id": one.prompt.id, "completion_id": one.answers[0].id, "feedback": [one.id]}
        if one.prompt.text is not None:
            row = Prompt(text=f"{one.prompt.text}{answer}\n\n{words}\n\n", meta=meta)
        else:
            row = Prompt(messages=(*one.prompt.messages, Message("assistant", answer), Message("user", words)), meta=meta)
        rows.append((row, [one.id]))
    return converted(rows, counts, "prompts", feedback)


KIND = Kind(NAME, "prompts", read, convert, ("prompts",), (1, 1), ("text", "comment"))
