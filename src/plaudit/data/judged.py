"""Rows that hold judgements other than a pair, in TRL's columns or the field's: labels, ratings, classes, steps, rankings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.data.columns import Content, answer, demonstration, describe, number, prompt, rest, text
from plaudit.data.layouts.base import Tally
from plaudit.schema import Label, Prompt, Ranking, Rated, Steps, UserError

RATINGS = ("rating", "score")
SCORES = ("scores", "ranks")


def label(row: Mapping[str, Any], where: str, classes: Sequence[str] = ()) -> Label:
    """`prompt` and `completion` with a label, rating or score; or a `text` with its class.

    true is 1, false is 0; a class that is a name is its place in `classes`. Of a text the prompt is empty.
    """
    value_column = next((name for name in ("label", *RATINGS) if name in row), "label")
    value = _value(row.get(value_column), classes, f"{where}, {value_column}")
    weight = number(row, "weight", 1.0, where, low=0.0)
    if "completion" not in row:
        whole = text(row["text"], f"{where}, text")
        if not whole.strip():
            raise UserError(f"{where}, text: is empty.")
        return Label(Prompt(text="", meta=rest(row, "text", value_column, "weight")), whole, value, weight)
    to = prompt(row["prompt"], rest(row, "prompt", "completion", value_column, "weight"), f"{where}, prompt")
    return Label(to, answer(row["completion"], to, f"{where}, completion"), value, weight)


def aspects(row: Mapping[str, Any], where: str) -> Rated:
    """`prompt`, `completion` and `scores`, an object of numbers by aspect, such as {"helpful": 4, "safe": 5}."""
    scores = row["scores"]
    if not isinstance(scores, Mapping) or not scores:
        example = '{"helpful": 4, "safe": 5}'
        raise UserError(f"{where}, scores: must be an object of numbers by aspect, such as {example}, not {describe(scores)}.")
    for name, value in scores.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{where}, scores, {name}: must be a finite number, not {describe(value)}.")
    plain = demonstration({name: value for name, value in row.items() if name != "scores"}, where)
    return Rated(plain.prompt, plain.answer, plain.weight, {str(name): float(value) for name, value in scores.items()})


def _value(found: Any, classes: Sequence[str], where: str) -> float:
    if isinstance(found, str):
        if found not in classes:
            known = f"; the classes are {', '.join(classes[:12])}" if classes else ""
            raise UserError(f"{where}: must be true, false or a number, or one of the classes, not {found[:40]!r}{known}.")
        return float(classes.index(found))
    if isinstance(found, bool):
        return float(found)
    if not isinstance(found, (int, float)) or not math.isfinite(found):
        raise UserError(f"{where}: must be true, false, a finite number or the name of a class, not {describe(found)}.")
    return float(found)


def steps(row: Mapping[str, Any], where: str) -> Steps:
    """TRL's stepwise supervision: `prompt`, `completions` (a list of strings), `labels` (true, false, or 0 to 1)."""
    found, labels = row["completions"], row["labels"]
    for column, value in (("completions", found), ("labels", labels)):
        if not isinstance(value, list) or not value:
            raise UserError(f"{where}, {column}: must be a list that is not empty, not {describe(value)}.")
    if len(found) != len(labels):
        raise UserError(f"{where}: has {len(found)} completions but {len(labels)} labels; give one label for each step.")
    weight = number(row, "weight", 1.0, where, low=0.0)
    to = prompt(row["prompt"], rest(row, "prompt", "completions", "labels", "weight"), f"{where}, prompt")
    written = tuple(text(step, f"{where}, completions, step {i + 1}") for i, step in enumerate(found))
    if not all(step.strip() for step in written):
        raise UserError(f"{where}, completions: step {[bool(s.strip()) for s in written].index(False) + 1} is empty.")
    values = tuple(_share(value, f"{where}, labels, step {i + 1}") for i, value in enumerate(labels))
    return Steps(to, written, values, weight)


def _share(value: Any, where: str) -> float:
    if not isinstance(value, (bool, int, float)) or not 0 <= value <= 1:
        raise UserError(f"{where}: must be true, false or a number from 0 to 1, not {describe(value)}.")
    return float(value)


def many(row: Mapping[str, Any], where: str, tally: Tally, margin: bool = False) -> Ranking | None:
    """A ranking of two or more: `answers` best first, or `completions` with `ranks` (1 is best) or `scores` (more is better).

    Of answers with the same rank or score, and of equal answers, the first is kept, and the others are counted in `tally`:
    a ranking holds no ties. None where fewer than two are left. `margin`: of two answers, the difference of their scores.
    """
    column = "answers" if "answers" in row else "completions"
    figures = next((name for name in SCORES if name in row), None) if column == "completions" else None
    given = row[column]
    if not isinstance(given, list) or not given:
        raise UserError(f"{where}, {column}: must be a list of answers that is not empty, not {describe(given)}.")
    weight = number(row, "weight", 1.0, where, low=0.0)
    meta = rest(row, "prompt", column, "weight", *([figures] if figures else []))
    to = prompt(row["prompt"], meta, f"{where}, prompt")
    answers = [answer(item, to, f"{where}, {column}, answer {i + 1}") for i, item in enumerate(given)]
    values = _values(row[figures], len(answers), f"{where}, {figures}") if figures else [-float(i) for i in range(len(answers))]
    if figures == "ranks":
        values = [-value for value in values]
    kept: list[tuple[float, Content]] = []
    for value, item in sorted(zip(values, answers, strict=True), key=lambda pair: -pair[0]):
        if kept and kept[-1][0] == value:
            tally["answers left out of rankings: as good as another"] += 1
        elif any(item == other for _, other in kept):
            tally["answers left out of rankings: equal to a better one"] += 1
        else:
            kept.append((value, item))
    if len(kept) < 2:
        tally["rows left out: no two answers of different rank"] += 1
        return None
    gap = kept[0][0] - kept[1][0] if margin and figures == "scores" and len(kept) == 2 else 0.0
    return Ranking(to, tuple(item for _, item in kept), margin=gap, weight=weight, meta=meta)


def _values(found: Any, count: int, where: str) -> list[float]:
    if not isinstance(found, list) or len(found) != count:
        raise UserError(f"{where}: must be a list with one number for each of the {count} answers.")
    for value in found:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UserError(f"{where}: must hold finite numbers, not {describe(value)}.")
    return [float(value) for value in found]


def scores_margin(row: Mapping[str, Any], where: str) -> float:
    """`score_chosen` less `score_rejected` of a pair."""
    better, worse = (number(row, name, 0.0, where, low=-math.inf) for name in ("score_chosen", "score_rejected"))
    return better - worse
