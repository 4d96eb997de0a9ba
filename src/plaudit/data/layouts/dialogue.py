"""Dialogues in `messages` whose last answer is judged: two sides (LLaMA-Factory, ms-swift), or a label (KTO)."""

from __future__ import annotations

from typing import Any

from plaudit.data.layouts.base import Layout, Tally, is_list_of, others
from plaudit.schema import JSON, UserError

LABELS = ("label", "kto_tag")
REJECTED = ("rejected", "rejected_response", "rejected_messages")


def recognises(row: JSON) -> bool:
    judged = any(isinstance(row.get(name), bool) for name in LABELS) or any(name in row for name in REJECTED)
    return is_list_of(row.get("messages"), "role", "content") and "prompt" not in row and judged


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    return sides(row, where)


def sides(row: JSON, where: str) -> list[JSON]:
    """`messages` with `chosen` and `rejected`, with `rejected_response`, or with `label`, as prompt and answers.

    With both sides the dialogue is the prompt; its last answer, where it ends with one, is the chosen side unless that is
    given. With a label the last assistant turn is what was judged.
    """
    turns = row.get("messages")
    if not is_list_of(turns, "role"):
        raise UserError(
            f"{where}, messages: must be a list of messages that is not empty; there are: {', '.join(row) or 'none'}."
        )
    assert isinstance(turns, list)
    rejected = next((name for name in REJECTED if name in row), None)
    label = next((name for name in LABELS if name in row), None)
    if rejected is not None:
        before, last = _before(turns, where) if turns[-1].get("role") == "assistant" else (turns, None)
        chosen = row.get("chosen", last)
        if chosen is None:
            raise UserError(f"{where}: has {rejected} but no chosen answer.")
        worse = row[rejected]
        if rejected == "rejected_messages":
            worse = _tail(worse, where)
        return [
            {
                **others(row, "messages", "chosen", rejected),
                "prompt": before,
                "chosen": _answer(chosen),
                "rejected": _answer(worse),
            }
        ]
    if label is not None:
        before, last = _before(turns, where)
        return [{**others(row, "messages", label), "prompt": before, "completion": [last], "label": row[label]}]
    return [row]


def _before(turns: list[Any], where: str) -> tuple[list[Any], Any]:
    if len(turns) < 2 or turns[-1].get("role") != "assistant":
        raise UserError(f"{where}, messages: must end with the assistant turn that the label speaks of, after a user turn.")
    return turns[:-1], turns[-1]


def _tail(turns: Any, where: str) -> Any:
    """Of a whole other dialogue, its last turn."""
    if not is_list_of(turns, "role", "content"):
        raise UserError(f"{where}, rejected_messages: must be a list of messages.")
    return turns[-1]


def _answer(value: Any) -> Any:
    """A side as a list of messages or a string; a single message counts as a list of one."""
    return [value] if isinstance(value, dict) else value


LAYOUT = Layout(
    "dialogue",
    "messages with chosen and rejected, with rejected_response, or with a label for the last answer",
    recognises,
    convert,
    40,
)
