"""`plaudit tune CONFIG`: a search for good options."""

from __future__ import annotations

from typing import Annotated

import typer

from plaudit.cli.show import AsJson, emit, file_and_words


def tune(
    words: Annotated[
        list[str], typer.Argument(metavar="CONFIG [KEY=VALUE]...", help="A YAML file: options of a verb, and `search:`.")
    ],
    as_json: AsJson = False,
) -> None:
    """Search for good options of a training verb, over several seeds. Killed anywhere, the same command goes on.

    Needs `pip install 'plaudit[tune]'`. docs/tune.md says what the file holds.
    """
    from plaudit.training.run import STOPPED
    from plaudit.training.tuning.plan import load
    from plaudit.training.tuning.study import search

    path, options = file_and_words(words)
    result = search(load(path, options))
    emit(result if as_json else {name: value for name, value in result.items() if name != "finals"}, as_json, "Search")
    raise typer.Exit(STOPPED.get(str(result["status"]), 0))
