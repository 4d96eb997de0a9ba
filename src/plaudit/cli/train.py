"""`plaudit train ALGORITHM CONFIG`: one run of one algorithm."""

from __future__ import annotations

from typing import Annotated

import typer

from plaudit.cli.show import AsJson, Place, emit, file_and_words, placed


def _listed(wanted: bool) -> None:
    """Print a line for each registered algorithm, and leave; one that cannot be imported says why."""
    if not wanted:
        return
    from plaudit.registry import names
    from plaudit.schema import UserError
    from plaudit.training.build import algorithm_class, purpose

    rows = {}
    for name in names("algorithms"):
        try:
            kind = algorithm_class(name)
            rows[name] = f"eats {kind.eats}. {purpose(kind)}"
        except UserError as broken:
            rows[name] = f"cannot be used: {broken}"
    emit(rows, False)
    raise typer.Exit


def train(
    algorithm: Annotated[str, typer.Argument(help="A name from the list below, module:Class or file.py:Class.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="A YAML file of options, and options that beat it."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last good checkpoint.")] = False,
    listed: Annotated[
        bool, typer.Option("--list", callback=_listed, is_eager=True, help="Print a line for each algorithm, and leave.")
    ] = False,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Train a model: `plaudit train ppo ppo.yaml learning_rate=1e-6`. `plaudit config ppo` writes such a file.

    Ctrl-C or SIGTERM writes a checkpoint first; the exit code is then 130 or 143.
    """
    chosen = placed(place)
    from plaudit.config import load
    from plaudit.training.run import STOPPED, sections
    from plaudit.training.run import train as run

    path, options = file_and_words(words or [])
    classes, defaults = sections(algorithm)
    result = run(algorithm, load(classes, path, [*options, *chosen], defaults), resume=resume)
    emit(result, as_json, f"Run of {algorithm}")
    raise typer.Exit(STOPPED.get(str(result["status"]), 0))
