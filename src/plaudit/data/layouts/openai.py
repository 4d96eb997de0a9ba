"""OpenAI's fine-tuning files: chats whose assistant turns may carry `weight` 0 or 1, and preference rows."""

from __future__ import annotations

from typing import Any

from plaudit.data.layouts.base import Layout, Tally, is_list_of, others
from plaudit.schema import JSON, UserError


def recognises(row: JSON) -> bool:
    if isinstance(row.get("input"), dict) and "preferred_output" in row:
        return True
    turns = row.get("messages") or []
    return is_list_of(turns, "role") and any(isinstance(turn, dict) and "weight" in turn for turn in turns)


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    """Preference rows as prompt, chosen and rejected; of chats, the turns of weight 0 are read and not trained."""
    if "preferred_output" in row:
        asked = row["input"]
        if not isinstance(asked, dict) or not isinstance(asked.get("messages"), list):
            raise UserError(f"{where}, input: must be an object with messages.")
        if "non_preferred_output" not in row:
            raise UserError(f"{where}: has preferred_output but no non_preferred_output.")
        rest = others(row, "input", "preferred_output", "non_preferred_output") | others(
            asked, "messages", "parallel_tool_calls"
        )
        sides = {"chosen": row["preferred_output"], "rejected": row["non_preferred_output"]}
        return [{**rest, "prompt": asked["messages"], **sides}]
    if not is_list_of(row.get("messages"), "role"):
        return [row]
    return _weighted(row, where, tally)


def _weighted(row: JSON, where: str, tally: Tally) -> list[JSON]:
    """A row for each run of trained turns that another, untrained one ends; usually one."""
    turns, trained = [], []
    for i, turn in enumerate(row["messages"]):
        weight = turn.get("weight", 1) if isinstance(turn, dict) else 1
        if weight not in (0, 1):
            raise UserError(f"{where}, message {i + 1}, weight: must be 0 or 1, not {weight!r}.")
        turns.append(others(turn, "weight") if isinstance(turn, dict) else turn)
        if _role(turn) == "assistant":
            trained.append((i, bool(weight)))
    runs: list[list[int]] = []
    for (i, on), (_, before) in zip(trained, [(-1, False), *trained], strict=False):
        if on:
            runs[-1].append(i) if before and runs else runs.append([i])
        else:
            tally["assistant turns of weight 0: read, not trained"] += 1
    rest = others(row, "messages")
    if len(runs) == 1 and len(runs[0]) == len(trained):
        return [{**rest, "messages": turns}]
    return [{**rest, "prompt": turns[: run[0]], "completion": turns[run[0] : run[-1] + 1]} for run in runs]


def _role(turn: Any) -> Any:
    return turn.get("role") if isinstance(turn, dict) else None


LAYOUT = Layout(
    "openai", "OpenAI's fine-tuning files: messages with weights, or input with preferred_output", recognises, convert, 30
)
