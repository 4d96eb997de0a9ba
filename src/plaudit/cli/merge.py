"""`plaudit merge FOLDER --out FOLDER`: one plain model of an adapter and its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def merge(
    folder: Annotated[Path, typer.Argument(metavar="RUN|ADAPTER", help="A run's folder, or an adapter's in peft's layout.")],
    out: Annotated[Path, typer.Option(help="Where the model goes; it must not exist.")],
    base: Annotated[str | None, typer.Option(help="The base, where the adapter's own entry cannot be found.")] = None,
) -> None:
    """Merge an adapter into its base: `plaudit merge runs/sft/adapter --out models/sft`."""
    from plaudit.deploy.merge import merge as merged

    typer.echo(merged(folder, out, base=base))
