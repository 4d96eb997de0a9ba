"""UltraFeedback (Cui et al. 2023): the original with several completions and their scores, and the binarised one."""

from __future__ import annotations

from typing import Any

from plaudit.data.layouts.base import Layout, Tally, is_list_of, others
from plaudit.schema import JSON, UserError


def recognises(row: JSON) -> bool:
    original = isinstance(row.get("instruction"), str) and is_list_of(row.get("completions"), "response")
    return original or (isinstance(row.get("prompt"), str) and _dialogues(row))


def _dialogues(row: JSON) -> bool:
    """Both sides are whole dialogues that begin with the prompt, though the prompt is a string."""
    sides = [row.get("chosen"), row.get("rejected")]
    return all(is_list_of(side, "role", "content") and side[0]["role"] != "assistant" for side in sides)  # type: ignore[index]


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    """The binarised row keeps `score_chosen` and `score_rejected`; the original becomes answers with scores."""
    if "completions" not in row:
        # `messages` repeats the chosen side
        return [others(row, "prompt", "messages")] if _dialogues(row) else [row]
    if not isinstance(row.get("instruction"), str):
        raise UserError(f"{where}, instruction must be a string.")
    answers, scores = [], []
    for i, completion in enumerate(row["completions"]):
        text, score = _judged(completion, f"{where}, completion {i + 1}")
        if score is None:
            tally["answers left out: without a score"] += 1
            continue
        answers.append(text)
        scores.append(score)
    prompt = [{"role": "user", "content": row["instruction"]}]
    return [{**others(row, "instruction", "completions"), "prompt": prompt, "completions": answers, "scores": scores}]


def _judged(completion: Any, where: str) -> tuple[str, float | None]:
    """The answer and its score: the overall one, or the mean of the ratings by aspect."""
    if not isinstance(completion, dict) or not isinstance(completion.get("response"), str):
        raise UserError(f"{where} must be an object with response.")
    for name in ("overall_score", "fine-grained_score"):
        if (score := _figure(completion.get(name))) is not None:
            return completion["response"], score
    aspects = completion.get("annotations")
    found = [_figure(a.get("Rating")) for a in aspects.values() if isinstance(a, dict)] if isinstance(aspects, dict) else []
    ratings = [value for value in found if value is not None]
    return completion["response"], sum(ratings) / len(ratings) if ratings else None


def _figure(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


LAYOUT = Layout(
    "ultrafeedback", "UltraFeedback: instruction with scored completions, or the binarised dialogues", recognises, convert, 40
)
