"""What the verbs share: results as a table or as JSON, the --place option, the file-or-words argument."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout, and nothing else there.")]
Place = Annotated[str | None, typer.Option(help="Where to run: `local`, the default, is this process.")]
Words = Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options; `plaudit config VERB` lists them.")]


class NamingAlgorithms(TyperCommand):
    """A verb whose help ends with the names of all algorithms, of plug-ins too; they are looked up when it is shown."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        from plaudit.registry import names

        self.epilog = f"Algorithms: {', '.join(names('algorithms'))}."
        super().format_help(ctx, formatter)


def placed(place: str | None) -> list[str]:
    """--place as the option that it sets. UserError, before anything slow is imported, for a place that is not there."""
    if place is None:
        return []
    from plaudit.training.place import check

    check(place)
    return [f"place={place}"]


def file_and_words(words: Sequence[str]) -> tuple[Path | None, list[str]]:
    """Split `[CONFIG] [key=value ...]`: the first word is a file unless it is of the form key=value."""
    if words and ("=" not in words[0] or Path(words[0]).is_file()):
        return Path(words[0]), list(words[1:])
    return None, list(words)


def prompts_of(path: Path, options: Any) -> list[Any]:
    """The prompts of a file, read as `options` (a ReadConfig) say; what was converted or left out is told on stderr."""
    from plaudit.data.readers import read

    found = read(options.part(path), "prompts", **options.keywords())
    for line in found.lines():
        typer.echo(line, err=True)
    return found.items


def emit(result: Any, as_json: bool, title: str = "") -> None:
    """Print a verb's result: JSON for a script, else one row for each figure."""
    if as_json:
        json.dump(_finite(result), sys.stdout, ensure_ascii=False, indent=2, default=str)
        print()
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title or None, show_header=False, box=None, title_justify="left", title_style="bold")
    for name, value in _rows(result):
        table.add_row(name, value)
    Console(highlight=False).print(table)


def _finite(value: Any) -> Any:
    """What JSON has no word for (NaN, infinity) as null: other programs refuse a file that holds it."""
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(result: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in result.items():
        if isinstance(value, Mapping):
            rows += _rows(value, f"{prefix}{name}.")
        else:
            rows.append((f"{prefix}{name}", figure(value)))
    return rows


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr for the engine: `with progress("answers") as told: engine.generate(..., told)`, told(done, total)."""
    from plaudit.training.progress import shown

    with shown() as bar:
        begun = False

        def told(done: int, total: int) -> None:
            nonlocal begun
            if not begun:
                bar.task(what, total)
                begun = True
            bar.advance(done)

        yield told


def figure(value: Any) -> str:
    """A value for a person: four significant digits, lists in brackets."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(figure, value)) + "]"
    return "" if value is None else str(value)
