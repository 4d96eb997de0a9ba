"""Files with several people's judgements of the same items, read as ballots for the report on label quality.

Two layouts. Wide: a row for each item, with a column `annotators` that holds a list of answers (always in the same order of
people, as PandaLM has it: 1 or 2 for the better answer, 0 for a tie), or an object of answers by name. Long: a row for each
judgement, with `annotator`, `item` and `label`, and where there are any `question`, `seconds`, `source` and `reason`
(`adjudication` marks an answer that settles the item).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from plaudit.data.columns import describe
from plaudit.data.files import all_rows, data_files
from plaudit.judgements.base import ADJUDICATION, Ballot
from plaudit.schema import UserError

LONG = {
    "annotator": ("annotator", "annotator_id", "worker", "worker_id", "rater", "user"),
    "item": ("item", "item_id", "task", "task_id", "unit", "example_id", "id"),
    "label": ("label", "value", "rating", "choice", "vote", "answer"),
}
"""The columns of the long layout, and the names under which they are looked for."""
PREFERENCES = {"1": "first", "2": "second", "0": "tie", "a": "first", "b": "second", "tie": "tie", "both_bad": "tie"} | {
    name: name for name in ("first", "second")
}
THUMBS = {"up": "up", "down": "down", "yes": "up", "no": "down", "true": "up", "false": "down", "1": "up", "0": "down"}
LEVELS = ("preference", "nominal", "ordinal", "interval")
SOURCES = ("human", "judge", "simulated", "implicit")


def read_ballots(
    path: str | Path, *, columns: Mapping[str, str] | None = None, level: str | None = None
) -> tuple[list[Ballot], int]:
    """The ballots of a file or folder, and the number of its rows. An answer of null is one that was not given.

    `columns`: our name of a column -> the file's. `level`: preference, nominal, ordinal or interval; without it, it is told by
    the answers. UserError for files in neither layout, with the columns that are there, and for answers that are no answers.
    """
    if level is not None and level not in LEVELS:
        raise UserError(f"--level {level}: is not a level; there are {', '.join(LEVELS)}")
    found: list[Ballot] = []
    rows = 0
    for where, row in all_rows(data_files(path)):
        rows += 1
        renamed = _renamed(row, columns or {})
        found += _wide(renamed, where, rows) if "annotators" in renamed else _long(renamed, where)
    if not found:
        raise UserError(f"{path}: no row holds an answer")
    return _levelled(found, level, str(path)), rows


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row with its columns under our names; a column that ours takes the place of is dropped."""
    kept = {name: value for name, value in row.items() if name not in columns.values() and name not in columns}
    return kept | {ours: row[theirs] for ours, theirs in columns.items() if theirs in row}


def _wide(row: Mapping[str, Any], where: str, number: int) -> list[Ballot]:
    given = row["annotators"]
    if isinstance(given, list):
        answers: Iterable[tuple[str, Any]] = ((f"annotator-{i + 1}", value) for i, value in enumerate(given))
    elif isinstance(given, Mapping):
        answers = given.items()
    else:
        raise UserError(
            f"{where}, annotators: must be a list of answers, or an object of answers by name, not {describe(given)}."
        )
    item = str(next((row[name] for name in LONG["item"] if row.get(name) is not None), f"row {number}"))
    return [
        Ballot("label", item, f"human:{who}", _answer(value, f"{where}, annotators"), act=f"{item}/{who}")
        for who, value in answers
        if value is not None
    ]


def _long(row: Mapping[str, Any], where: str) -> list[Ballot]:
    at = {ours: next((name for name in names if name in row), None) for ours, names in LONG.items()}
    missing = [ours for ours, name in at.items() if name is None]
    if missing:
        there = ", ".join(row)
        raise UserError(
            f"{where}: needs a column `annotators` (a list of answers), or `annotator`, `item` and `label`; {missing[0]} is "
            f"missing, there are: {there}. Name it as in dataset_columns.{missing[0]}=THEIRS."
        )
    who, item, value = (row[name] for name in at.values() if name is not None)
    if value is None:
        return []
    if who is None or item is None:
        raise UserError(f"{where}: an answer needs an annotator and an item.")
    source = str(row.get("source") or "human")
    if source not in SOURCES:
        raise UserError(f"{where}, source: must be one of {', '.join(SOURCES)}, not {source[:40]!r}.")
    question = str(row.get("question") or "label")
    settles = row.get("reason") == ADJUDICATION
    name = f"{source}:{who}"
    return [
        Ballot(
            question,
            str(item),
            name,
            _answer(value, f"{where}, {at['label']}"),
            settles=settles,
            seconds=_seconds(row.get("seconds"), where),
            act=where,
        )
    ]


def _seconds(value: Any, where: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise UserError(f"{where}, seconds: must be a number of seconds, not {describe(value)}.")
    return seconds


def _answer(value: Any, where: str) -> Any:
    """Text or a number; true and false as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise UserError(f"{where}: an answer is a text or a number, not {describe(value)}.")


def _levelled(ballots: Sequence[Ballot], level: str | None, path: str) -> list[Ballot]:
    """The ballots with their level, question by question."""
    by_question: dict[str, list[Any]] = {}
    for one in ballots:
        by_question.setdefault(one.question, []).append(one.value)
    levels = {question: level or _level(values) for question, values in by_question.items()}
    return [_as(one, levels[one.question], by_question[one.question], path) for one in ballots]


def _level(values: Sequence[Any]) -> str:
    """Preference for first, second, a, b, or all of 0, 1 and 2; whole numbers are ordinal, others interval; else nominal."""
    told = {_word(value) for value in values}
    if told <= set(PREFERENCES) and (not told <= {"0", "1", "2"} or told == {"0", "1", "2"}):
        return "preference"
    numbers = [number for value in values if (number := _number(value)) is not None]
    if len(numbers) < len(values) or told <= set(THUMBS):
        return "nominal"
    return "ordinal" if all(number.is_integer() for number in numbers) else "interval"


def _as(one: Ballot, level: str, values: Sequence[Any], path: str) -> Ballot:
    word = _word(one.value)
    if level == "preference":
        if word not in PREFERENCES:
            known = ", ".join(PREFERENCES)
            raise UserError(f"{path}: {word[:40]!r} does not say which of two answers is better; there are {known}")
        value = PREFERENCES[word]
        return replace(one, value=value, preference=True, left={"first": True, "second": False}.get(value))
    if level == "nominal":
        thumbs = {_word(value) for value in values} <= set(THUMBS)
        return replace(one, value=THUMBS[word] if thumbs else word)
    number = _number(one.value)
    if number is None:
        raise UserError(f"{path}: {word[:40]!r} is no number, which answers of level {level} are")
    return replace(one, value=number, level=level)


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value.lower() if isinstance(value, str) and value.lower() in {*PREFERENCES, *THUMBS} else str(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
