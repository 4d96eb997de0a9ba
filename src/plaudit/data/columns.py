"""One row of a file, in the columns that TRL names, to one item of the schema, and back.

Every function takes the row with its `None` values already dropped and `where`, which says file and line in errors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from plaudit.schema import JSON, ROLES, Demonstration, Message, Prompt, Ranking, UserError

Turns = tuple[Message, ...]
Content = str | Turns

UNREADABLE = ("tools", "images", "image", "videos", "audios", "chat_template_kwargs")
"""Columns that change what the model reads and that this version cannot represent: refused, never dropped."""
UNREADABLE_KEYS = ("tool_calls", "thinking", "reasoning_content", "images", "weight", "train")
"""The same for the keys of a message."""

# The end of the part of a Human/Assistant dialogue (the HH-RLHF layout) that is the prompt.
HH_TURN = "\n\nAssistant:"


def text(value: Any, where: str) -> str:
    """`value` where it is a string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise UserError(f"{where} must be a string, not {describe(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UserError(f"{where} holds half of a surrogate pair (such as \\ud83d alone), which is not text.") from None
    return value


def message(value: Any, where: str) -> Message:
    """One `{"role", "content"}`; keys that this version cannot represent are refused."""
    if not isinstance(value, Mapping):
        raise UserError(f"{where} must be an object with role and content, not {describe(value)}.")
    missing = [key for key in ("role", "content") if value.get(key) is None]
    if missing:
        keys = ", ".join(k for k in value if value[k] is not None) or "nothing"
        raise UserError(f"{where} has no {' and no '.join(missing)} (it has: {keys}).")
    for key in UNREADABLE_KEYS:
        if value.get(key) not in (None, [], {}):
            raise UserError(f"{where} has {key!r}, which plaudit cannot train on; take the key out or write it into content.")
    role = text(value["role"], f"{where}, role")
    if role not in ROLES:
        raise UserError(f"{where} has the unknown role {role!r}; the roles are {', '.join(ROLES)}.")
    return Message(role, text(value["content"], f"{where}, content"))


def content(value: Any, where: str) -> Content:
    """A string, or a list of messages that is not empty."""
    if isinstance(value, str):
        return text(value, where)
    if not isinstance(value, list):
        raise UserError(f"{where} must be a string or a list of messages, not {describe(value)}.")
    if not value:
        raise UserError(f"{where} is an empty list of messages.")
    return tuple(message(item, f"{where}, message {i + 1}") for i, item in enumerate(value))


def number(row: Mapping[str, Any], column: str, default: float, where: str, *, low: float, high: float = math.inf) -> float:
    """A finite number of `column` in [low, high], or `default` where the column is not there."""
    value = row.get(column, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{where}, {column}: must be a finite number, not {describe(value)}.")
    if not low <= value <= high:
        allowed = f"between {low:g} and {high:g}" if high < math.inf else f"{low:g} or more"
        raise UserError(f"{where}, {column}: must be {allowed}, not {value:g}.")
    return float(value)


def prompt(value: Any, meta: JSON, where: str) -> Prompt:
    """A `prompt` column: plain text, or messages of which the last is not the assistant's."""
    found = content(value, where)
    if isinstance(found, str):
        return Prompt(text=found, meta=meta)
    if found[-1].role == "assistant":
        raise UserError(f"{where} ends with an assistant turn, so that nothing is left to answer; end it with a user turn.")
    return Prompt(messages=found, meta=meta)


def answer(value: Any, to: Prompt, where: str) -> Content:
    """A `completion`, `chosen` or `rejected` column. A string that answers messages is one assistant turn."""
    found = content(value, where)
    if isinstance(found, str):
        return found if to.text is not None else (Message("assistant", found),)
    if to.text is not None:
        raise UserError(f"{where} is a list of messages but the prompt is a string; give both in the same form.")
    if found[0].role != "assistant":
        raise UserError(f"{where} starts with a {found[0].role} turn; an answer starts with an assistant turn.")
    return found


def demonstration(row: Mapping[str, Any], where: str) -> Demonstration:
    """Language modelling (`text` or `messages`) or prompt-completion. `weight` is read where it is there.

    Of `messages`, everything before the first assistant turn is the prompt and all assistant turns are trained.
    """
    weight = number(row, "weight", 1.0, where, low=0.0)
    if "completion" in row:
        to = prompt(row["prompt"], rest(row, "prompt", "completion", "weight"), f"{where}, prompt")
        return Demonstration(to, answer(row["completion"], to, f"{where}, completion"), weight)
    if "text" in row:
        whole = text(row["text"], f"{where}, text")
        if not whole.strip():
            raise UserError(f"{where}, text: is empty.")
        return Demonstration(Prompt(text="", meta=rest(row, "text", "weight")), whole, weight)
    turns = messages(row["messages"], f"{where}, messages")
    first = next((i for i, turn in enumerate(turns) if turn.role == "assistant"), None)
    if first is None:
        raise UserError(f"{where}, messages: has no assistant turn, so that nothing could be trained.")
    return Demonstration(Prompt(messages=turns[:first], meta=rest(row, "messages", "weight")), turns[first:], weight)


def ranking(row: Mapping[str, Any], where: str) -> Ranking:
    """A preference pair, with the prompt in its own column or as the common beginning of both sides.

    Columns read where they are there: `margin` (TRL's), `probability` (a soft label) and `weight`.
    """
    if row["chosen"] == row["rejected"]:
        raise UserError(f"{where}: chosen and rejected are equal, so the pair says nothing; take the row out.")
    figures = {
        "margin": number(row, "margin", 0.0, where, low=-math.inf),
        "probability": number(row, "probability", 1.0, where, low=0.0, high=1.0),
        "weight": number(row, "weight", 1.0, where, low=0.0),
    }
    meta = rest(row, "prompt", "chosen", "rejected", *figures)
    if "prompt" in row:
        to = prompt(row["prompt"], meta, f"{where}, prompt")
        sides = tuple(answer(row[side], to, f"{where}, {side}") for side in ("chosen", "rejected"))
        if sides[0] == sides[1]:  # a string and a list of messages can be the same answer
            raise UserError(f"{where}: chosen and rejected are equal, so the pair says nothing; take the row out.")
    else:
        to, sides = common_beginning(row, meta, where)
    return Ranking(to, sides, meta=meta, **figures)


def common_beginning(row: Mapping[str, Any], meta: JSON, where: str) -> tuple[Prompt, tuple[Content, ...]]:
    """The implicit prompt of a pair of whole conversations: what both begin with.

    Strings are cut after the last "\\n\\nAssistant:" that both have (the HH-RLHF layout), otherwise where they first
    differ, moved back to the start of the word; the blank before that word goes to the answers.
    Messages are cut where they first differ, moved back to the first assistant turn from there.
    """
    chosen, rejected = (content(row[side], f"{where}, {side}") for side in ("chosen", "rejected"))
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise UserError(f"{where}: chosen and rejected must both be strings or both be lists of messages.")
    same = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected)))
    if isinstance(chosen, str):
        turn = chosen.rfind(HH_TURN, 0, same)
        cut = turn + len(HH_TURN) if turn >= 0 else begun_word(chosen[:same])
        return Prompt(text=chosen[:cut], meta=meta), (chosen[cut:], rejected[cut:])
    while same and chosen[same - 1].role == "assistant":
        same -= 1
    sides = tuple(messages(row[side], f"{where}, {side}")[same:] for side in ("chosen", "rejected"))
    if any(not side or side[0].role != "assistant" for side in sides):
        raise UserError(f"{where}: after their common beginning, chosen and rejected must each go on with an assistant turn.")
    return Prompt(messages=messages(row["chosen"], where)[:same], meta=meta), sides


def begun_word(begin: str) -> int:
    """Where the word starts that `begin` breaks off in, the blank before it included; of scripts with blanks."""
    found = re.search(r"[ ]?[A-Za-z0-9\u00c0-\u024f'’]*\Z", begin)
    return found.start() if found else len(begin)


def asked(row: Mapping[str, Any], where: str) -> Prompt:
    """A prompt to generate from; the other columns go to `meta`, where reward functions find them."""
    found = prompt(row["prompt"], rest(row, "prompt"), f"{where}, prompt")
    if found.text is not None and not found.text.strip():
        raise UserError(f"{where}, prompt: is empty.")
    return found


def messages(value: Any, where: str) -> Turns:
    found = content(value, where)
    if isinstance(found, str):
        raise UserError(f"{where} must be a list of messages, not a string.")
    return found


def rest(row: Mapping[str, Any], *used: str) -> JSON:
    return {column: value for column, value in row.items() if column not in used}


def describe(value: Any) -> str:
    """What `value` is, in JSON's words: "null", "a number (3)", "an object"."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else "a string"


def plain(found: Content) -> str | list[dict[str, str]]:
    """Text as it is, messages as the list of objects that a file holds."""
    return found if isinstance(found, str) else [{"role": m.role, "content": m.content} for m in found]


def to_row(item: Prompt | Demonstration | Ranking) -> JSON:
    """The row that reads back as `item`: prompt-only, prompt-completion, or a preference with explicit prompt.

    A ranking of more than two answers has no row in these columns; UserError.
    """
    if isinstance(item, Prompt):
        return {**item.meta, "prompt": plain(item.messages if item.text is None else item.text)}
    row = to_row(item.prompt)
    if isinstance(item, Demonstration):
        if item.prompt.text is None and not item.prompt.messages:
            row = {**item.prompt.meta, "messages": plain(item.answer)}
        else:
            row["completion"] = plain(item.answer)
        return row | ({"weight": item.weight} if item.weight != 1.0 else {})
    if len(item.answers) != 2:
        raise UserError(f"A ranking of {len(item.answers)} answers cannot be written as chosen and rejected; make pairs of it.")
    row |= {"chosen": plain(item.answers[0]), "rejected": plain(item.answers[1])}
    usual = {"margin": 0.0, "probability": 1.0, "weight": 1.0}
    return item.meta | row | {name: getattr(item, name) for name in usual if getattr(item, name) != usual[name]}
