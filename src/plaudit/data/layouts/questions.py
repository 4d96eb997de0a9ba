"""Question files as MT-Bench has them: `question_id` and `turns`, of which the first is asked."""

from __future__ import annotations

from plaudit.data.layouts.base import Layout, Tally, others
from plaudit.schema import JSON, UserError


def recognises(row: JSON) -> bool:
    return "question_id" in row and isinstance(row.get("turns"), list)


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    """The first turn as a dialogue of one user turn; `turns` stays with the row."""
    turns = row.get("turns")
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, str) for turn in turns):
        raise UserError(f"{where}, turns: must be a list of strings that is not empty.")
    if len(turns) > 1:
        tally["questions with further turns, of which the first is asked"] += 1
    return [{**others(row), "prompt": [{"role": "user", "content": turns[0]}]}]


LAYOUT = Layout("questions", "Question files as MT-Bench has them: question_id and turns", recognises, convert)
