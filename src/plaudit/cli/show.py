"""What the verbs share: results as a table or as JSON, the --place option, the file-or-words argument."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from plaudit.schema import UserError

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Place = Annotated[str, typer.Option(help="Where to run: `local` is this machine.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options; `plaudit config VERB` lists them.")]

PLACES = ("local",)


def check_place(place: str) -> None:
    """UserError for a place that does not exist (yet)."""
    if place not in PLACES:
        raise UserError(f"--place {place} does not exist; this version runs on {', '.join(PLACES)} only")


def file_and_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Split `[CONFIG] [key=value ...]`: the first word is a file unless it is of the form key=value."""
    if words and ("=" not in words[0] or Path(words[0]).is_file()):
        return Path(words[0]), list(words[1:])
    return None, list(words)


def emit(result: Any, as_json: bool, title: str = "") -> None:
    """Print a verb's result: JSON for a script, else one row for each figure."""
    if as_json:
        json.dump(result, sys.stdout, ensure_ascii=False, indent=2, default=str)
        print()
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, show_header=False, box=None, title_justify="left", title_style="bold")
    for name, value in _rows(result):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _rows(result: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            rows += _rows(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", figure(value)))
    return rows


def figure(value: Any) -> str:
    """A value for a person: four significant digits, lists in brackets."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(figure, value)) + "]"
    return "" if value is None else str(value)
