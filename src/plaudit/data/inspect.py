"""What a file holds, before anything is done with it: layout, type, columns, counts, lengths, languages, a few rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

from plaudit.data.check import check
from plaudit.data.columns import describe
from plaudit.data.convert import natural_row
from plaudit.data.items import Kind, algorithms, kind_of
from plaudit.data.layouts import FIRST
from plaudit.data.layouts.base import Wants
from plaudit.data.parts import parts
from plaudit.data.readers import Pipeline, read
from plaudit.data.template import Tokenizer
from plaudit.schema import JSON, UserError

ORDER: tuple[Wants, ...] = ("rankings", "labels", "steps", "demonstrations", "texts", "prompts")
SHOWN, WIDTH = 3, 200


def natural(given: Any, **options: Any) -> tuple[Wants, Kind] | None:
    """What the first rows of a file are read as most naturally, and their type; None where they have no known type."""
    part = parts(given, dataset_format=options.get("dataset_format", "auto"), columns=options.get("columns"))[0]
    for wants in ORDER:
        pipeline = Pipeline(part, wants)
        try:
            found = [one for where, row in islice(pipeline.rows(), FIRST) for one in pipeline.converted(row, where, Counter())]
        except UserError:
            continue
        kind = kind_of(found[0]) if found else None
        if kind is not None and kind.serves[0] == wants:
            return wants, kind
    return None


def inspect(
    given: Any,
    tokenizer: Tokenizer | None = None,
    *,
    told: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> JSON:
    """The figures of one file or folder as a plain dict; rows that cannot be read are counted, with the first reasons.

    UserError for files that cannot be read at all. A file of no known type has `type` None, and its columns.
    """
    pipelines = [Pipeline(part, "demonstrations") for part in parts(given, dataset_format="trl")]
    columns: Counter[str] = Counter()
    types: dict[str, set[str]] = {}
    rows = 0
    for pipeline in pipelines:
        for _, row in pipeline.rows():
            rows += 1
            for name, value in row.items():
                if value is not None:
                    columns[name] += 1
                    types.setdefault(name, set()).add(_type(value))
    result: JSON = {
        "files": [str(path) for pipeline in pipelines for path in pipeline.files],
        "rows": rows,
        "columns": {name: {"rows": count, "type": " or ".join(sorted(types[name]))} for name, count in columns.items()},
    }
    found = natural(given, **options)
    if found is None:
        return result | {"layout": None, "type": None, "serves": []}
    wants, kind = found
    data = read(given, wants, **{**options, "skip_refused": True})
    report = check(data.items, tokenizer, closely=True, told=told)
    return result | {
        "layout": " + ".join(dict.fromkeys(data.layouts)),
        "type": kind.name,
        "serves": algorithms(kind),
        "read_as": list(kind.serves),
        wants: len(data.items),
        "different_prompts": report.prompts,
        "notes": dict(data.tally),
        "refused_rows": len(data.refused),
        "refused": data.refused[:SHOWN],
        "classes": list(data.classes),
        "lengths": report.to_json()["lengths"],
        "languages": report.languages["data"],
        "examples": [natural_row(item) for item in data.items[:SHOWN]],
    }


def _type(value: Any) -> str:
    """ "text", "number", "list of messages" ..."""
    if isinstance(value, list):
        first = value[0] if value else None
        if isinstance(first, dict):
            return "list of messages" if {"role", "from"} & set(first) else "list of objects"
        return "empty list" if first is None else f"list of {_type(first)}"
    if isinstance(value, bool):
        return "true/false"
    if isinstance(value, (int, float)):
        return "number"
    return "object" if isinstance(value, dict) else "text" if isinstance(value, str) else describe(value)


def safely(value: Any, width: int = WIDTH) -> str:
    """A text for a terminal: on one line, shortened, and without characters that could steer it or hide in it."""
    text = value if isinstance(value, str) else str(value)
    shown = "".join(letter if letter.isprintable() else "�" for letter in " ".join(text[: 4 * width].split()))
    return shown if len(shown) <= width and len(text) <= 4 * width else shown[: width - 1] + "…"
