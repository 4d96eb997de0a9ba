"""ShareGPT: a list `conversations` of turns `{"from": "human", "value": "..."}`, alone, with sides, or with a label."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plaudit.data.layouts.base import Layout, Tally, is_list_of, others, turn
from plaudit.data.layouts.dialogue import sides
from plaudit.schema import JSON, UserError

ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
}
COLUMNS = ("conversations", "conversation")


def recognises(row: JSON) -> bool:
    return any(is_list_of(row.get(column), "from", "value") for column in COLUMNS)


def message(value: Any, where: str) -> JSON:
    """One turn as a message; calls of tools are refused, since they change what the model reads."""
    if isinstance(value, Mapping) and value.get("from") == "function_call":
        raise UserError(f"{where} is a function_call, which plaudit cannot train on; take such dialogues out.")
    return turn(value, where, role="from", content="value", roles=ROLES)


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    """`messages`, or `prompt` with the sides or with the labelled answer."""
    column = next((name for name in COLUMNS if name in row), COLUMNS[0])
    found = row.get(column)
    if not isinstance(found, list) or not found:
        raise UserError(f"{where}, {column}: must be a list of turns with from and value that is not empty.")
    turns = [message(item, f"{where}, {column}, turn {i + 1}") for i, item in enumerate(found)]
    if isinstance(row.get("system"), str) and row["system"] and turns[0]["role"] != "system":
        turns.insert(0, {"role": "system", "content": row["system"]})
    changed: JSON = {"messages": turns}
    for side in ("chosen", "rejected"):
        if side in row:
            changed[side] = _side(row[side], f"{where}, {side}")
    return sides({**others(row, column, "system", "chosen", "rejected"), **changed}, where)


def _side(value: Any, where: str) -> Any:
    if isinstance(value, str):
        return value
    members = value if isinstance(value, list) else [value]
    return [message(item, where) for item in members]


LAYOUT = Layout(
    "sharegpt",
    "ShareGPT: conversations of from and value, alone, with chosen and rejected, or with a label",
    recognises,
    convert,
)
