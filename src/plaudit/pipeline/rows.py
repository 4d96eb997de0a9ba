"""Prompts, demonstrations and pairs as rows of JSONL files: what one stage writes and the next one reads."""

from __future__ import annotations

from collections.abc import Mapping

from plaudit.schema import JSON, Completion, Demonstration, Prompt, Ranking, Sampling, to_json


def prompt_row(prompt: Prompt) -> JSON:
    """`prompt` as it was (text or messages), and its other columns."""
    asked = prompt.text if prompt.text is not None else [to_json(message) for message in prompt.messages]
    return {"prompt": asked, **prompt.meta}


def demonstration_row(one: Demonstration) -> JSON:
    """A prompt with the one answer that was shown to it."""
    written = one.answer if isinstance(one.answer, str) else one.answer[-1].content
    return {**prompt_row(one.prompt), "completion": _said(one.prompt, written)}


def pair_row(pair: Ranking, **columns: float) -> JSON:
    """Chosen and rejected, with the share of the votes that agrees."""
    chosen, rejected = (_said(pair.prompt, answer_text(pair, place)) for place in (0, 1))
    return {**prompt_row(pair.prompt), "chosen": chosen, "rejected": rejected, "probability": pair.probability, **columns}


def answer_text(pair: Ranking, place: int) -> str:
    """What the answer at a place of a ranking says last."""
    answer = pair.answers[place]
    return answer if isinstance(answer, str) else answer[-1].content


def completion(row: Mapping[str, object]) -> Completion:
    """A completion from the JSON that `to_json` made of it. TypeError or KeyError where it is none."""
    fields: JSON = dict(row)
    sampling: JSON = dict(fields.pop("sampling", {}))
    for name in ("stop", "stop_token_ids"):
        sampling[name] = tuple(sampling.get(name, ()))
    for name in ("prompt_tokens", "tokens", "logprobs"):
        fields[name] = tuple(fields[name])
    return Completion(**fields, sampling=Sampling(**sampling))


def _said(prompt: Prompt, text: str) -> str | list[JSON]:
    """The answer in the form of its prompt."""
    return text if prompt.text is not None else [{"role": "assistant", "content": text}]
