"""`plaudit merge FOLDER --out FOLDER`: one plain model of an adapter and its base, or of several models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plaudit.schema import UserError


def merge(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN|FOLDER...", help="A run or an adapter's folder; with --average, models.")
    ],
    out: Annotated[Path, typer.Option(help="Where the model goes; it must not exist.")],
    base: Annotated[str | None, typer.Option(help="The base, where the adapter's own entry cannot be found.")] = None,
    average: Annotated[bool, typer.Option("--average", help="Write the mean of the weights of several models.")] = False,
    weights: Annotated[str | None, typer.Option(help="With --average: how much each counts, as in 0.5,0.3,0.2.")] = None,
) -> None:
    """Merge an adapter into its base: `plaudit merge runs/sft/adapter --out models/sft`. Or average models of one shape."""
    if average:
        from plaudit.deploy.average import average as averaged

        typer.echo(averaged(folders, out, weights=None if weights is None else _numbers(weights)))
        return
    if len(folders) > 1 or weights is not None:
        raise UserError("one adapter is merged at a time; to average several models, add --average")
    from plaudit.deploy.merge import merge as merged

    typer.echo(merged(folders[0], out, base=base))


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--weights {text} is no list of numbers; write it as 0.5,0.3,0.2") from None
