"""The rubric as a reward function: the simulated annotators' taste without their noise. Monitored, never trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.pipeline.support.rubric import score
from plaudit.schema import Message, Prompt


def gold(
    prompts: Sequence[Sequence[Mapping[str, str]]],
    completions: Sequence[Sequence[Mapping[str, str]]],
    intent: Sequence[str],
    details: Sequence[Mapping[str, Any]],
    **_: Any,
) -> list[float]:
    """The rubric's total (0 to 1) of each answer; prompts as `support.questions` makes them."""
    return [
        score(
            Prompt(
                messages=tuple(Message(m["role"], m["content"]) for m in prompt), meta={"intent": kind, "details": dict(facts)}
            ),
            completion[0]["content"],
        ).total
        for prompt, completion, kind, facts in zip(prompts, completions, intent, details, strict=True)
    ]
