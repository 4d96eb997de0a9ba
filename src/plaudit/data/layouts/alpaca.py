"""Alpaca: instruction, input, output, with LLaMA-Factory's system and history, its sides, and its labels; seed tasks.

The prompt is a dialogue: the system turn, the history's turns, and `instruction` and `input` on two lines as the user's turn.
"""

from __future__ import annotations

from typing import Any

from plaudit.data.layouts.base import Layout, Tally, others
from plaudit.schema import JSON, UserError

USED = (
    "instruction",
    "input",
    "output",
    "response",
    "system",
    "history",
    "chosen",
    "rejected",
    "instances",
    "kto_tag",
    "label",
)


def recognises(row: JSON) -> bool:
    """A string `instruction` and an answer of some kind; `completions` beside it is UltraFeedback's."""
    answered = any(name in row for name in ("output", "response", "instances", "input", "chosen"))
    return isinstance(row.get("instruction"), str) and answered and "completions" not in row


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    """Prompt with completion, with both sides, with answers best first (a list in `output`), or with a label."""
    if "instruction" not in row:
        raise UserError(f"{where}: alpaca needs the column instruction; there are: {', '.join(row) or 'none'}.")
    if isinstance(row.get("instances"), list):
        return [
            {**others(row, *USED), **pair}
            for instance in row["instances"]
            for pair in _answered({**row, **_object(instance, where)}, where)
        ]
    return [{**others(row, *USED), **pair} for pair in _answered(row, where)]


def _answered(row: JSON, where: str) -> list[JSON]:
    prompt = asked(row, where)
    if "chosen" in row and "rejected" in row:
        return [{"prompt": prompt, "chosen": row["chosen"], "rejected": row["rejected"]}]
    output = row.get("output", row.get("response"))
    if output is None:
        return [{"prompt": prompt}]
    if isinstance(output, list):
        if len(output) == 2:
            return [{"prompt": prompt, "chosen": output[0], "rejected": output[1]}]
        return [{"prompt": prompt, "answers": output}]
    label = next((row[name] for name in ("kto_tag", "label") if isinstance(row.get(name), bool)), None)
    return [{"prompt": prompt, "completion": output, **({} if label is None else {"label": label})}]


def asked(row: JSON, where: str) -> list[JSON]:
    """The dialogue up to the answer."""
    turns: list[JSON] = []
    if row.get("system"):
        turns.append({"role": "system", "content": row["system"]})
    history = row.get("history") or []
    if not isinstance(history, list):
        raise UserError(f"{where}, history: must be a list of pairs of question and answer.")
    for i, pair in enumerate(history):
        if not isinstance(pair, list) or len(pair) != 2:
            raise UserError(f"{where}, history, pair {i + 1}: must be a list of a question and its answer.")
        turns += [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    parts = [row[name] for name in ("instruction", "input") if row.get(name) not in (None, "")]
    for name, part in zip(("instruction", "input"), parts, strict=False):
        if not isinstance(part, str):
            raise UserError(f"{where}, {name} must be a string.")
    return [*turns, {"role": "user", "content": "\n".join(parts)}]


def _object(value: Any, where: str) -> JSON:
    if not isinstance(value, dict):
        raise UserError(f"{where}, instances: each must be an object with input and output.")
    return value


LAYOUT = Layout(
    "alpaca",
    "Alpaca: instruction, input, output (system, history); or chosen and rejected, a list, a label",
    recognises,
    convert,
)
