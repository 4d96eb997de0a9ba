"""Anthropic's HH-RLHF: dialogues written into one string, "\\n\\nHuman: ...\\n\\nAssistant: ...", as messages."""

from __future__ import annotations

import re
from typing import Any

from plaudit.data.layouts.base import Layout, Tally, others
from plaudit.schema import JSON, UserError

TURN = re.compile(r"\n\n(Human|Assistant):")
ROLES = {"Human": "user", "Assistant": "assistant"}
COLUMNS = ("chosen", "rejected", "prompt")


def recognises(row: JSON) -> bool:
    """Strings of which the first (the prompt, or both sides) starts with a Human turn."""
    sides = ("prompt",) if "prompt" in row else ("chosen", "rejected")
    return all(isinstance(row.get(name), str) and bool(re.match(r"\s*(\n\n|^)Human:", row[name])) for name in sides)


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    """Messages in every column; blanks around a turn are not part of it."""
    if "prompt" in row:
        prompt = messages(row["prompt"], f"{where}, prompt")
        if prompt and prompt[-1] == {"role": "assistant", "content": ""}:
            prompt.pop()
        answers: JSON = {
            name: _plain(row[name], f"{where}, {name}") for name in ("chosen", "rejected", "completion") if name in row
        }
        return [{**others(row, *COLUMNS, "completion"), "prompt": prompt, **answers}]
    if "chosen" not in row or "rejected" not in row:
        raise UserError(f"{where}: hh_rlhf needs the columns chosen and rejected; there are: {', '.join(row) or 'none'}.")
    return [{**others(row, *COLUMNS), **{name: messages(row[name], f"{where}, {name}") for name in ("chosen", "rejected")}}]


def messages(value: Any, where: str) -> list[JSON]:
    """The turns of one string. UserError where it does not start with one."""
    if not isinstance(value, str):
        raise UserError(f"{where} must be a string of Human and Assistant turns.")
    first, *parts = TURN.split("\n\n" + value.lstrip())
    if first or not parts:
        raise UserError(
            f'{where} does not start with a turn "\\n\\nHuman:" or "\\n\\nAssistant:"; for other text use dataset_format=trl.'
        )
    return [{"role": ROLES[name], "content": text.strip()} for name, text in zip(parts[::2], parts[1::2], strict=True)]


def _plain(value: Any, where: str) -> list[JSON]:
    """An answer: text that goes on where the prompt's last Assistant turn began, further turns included.

    One that starts with a Human turn has an empty answer before it.
    """
    if not isinstance(value, str):
        raise UserError(f"{where} must be a string.")
    begun = value.lstrip()
    if begun.startswith("Human:"):
        return messages(f"Assistant:\n\n{begun}", where)
    return messages(begun if begun.startswith("Assistant:") else f"Assistant: {begun}", where)


LAYOUT = Layout("hh_rlhf", 'HH-RLHF: "\\n\\nHuman: ... \\n\\nAssistant: ..." in chosen and rejected', recognises, convert)
