"""`plaudit find-lr ALGORITHM CONFIG`: which learning rate to begin with."""

from __future__ import annotations

from typing import Annotated

import typer

from plaudit.cli.show import AsJson, emit, file_and_words


def find_lr(
    algorithm: Annotated[str, typer.Argument(help="One that trains on files: sft, reward, dpo ...; or module:Class.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="A YAML file of options, and options that beat it."),
    ] = None,
    start: Annotated[float, typer.Option(help="Lowest learning rate.")] = 1e-7,
    end: Annotated[float, typer.Option(help="Highest learning rate.")] = 1.0,
    steps: Annotated[int, typer.Option(help="Steps on the way.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Sweep the learning rate, draw the loss, suggest one: `plaudit find-lr sft sft.yaml`.

    Writes lr_finder.json and lr_finder.svg into the run's folder; nothing that it trains is kept.
    """
    from plaudit.config import load
    from plaudit.training.find_lr import find_lr as find
    from plaudit.training.run import sections

    path, options = file_and_words(words or [])
    classes, defaults = sections(algorithm)
    found = find(algorithm, load(classes, path, options, defaults), start=start, end=end, steps=steps)
    emit(found, as_json, f"Learning rate for {algorithm}")
