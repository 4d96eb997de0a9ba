"""`plaudit init`: a new project that runs at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def init(
    folder: Annotated[Path, typer.Argument(help="Where; it is made.")] = Path("."),
    data: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="A data file of your own; else sample rows are written.")
    ] = None,
    stages: Annotated[str | None, typer.Option(help="Only these, with commas: sft,answers,judge,reward,ppo,evaluate.")] = None,
    model: Annotated[str, typer.Option(help="Folder, .gguf file, hub name, or tiny.")] = "smollm2-135m-instruct",
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write a project: plaudit.yaml, sample data, a reward function. `plaudit init shop && cd shop && plaudit run`."""
    from plaudit.pipeline.project.start import STAGES, start

    chosen = [name.strip() for name in stages.split(",")] if stages else STAGES
    for path in start(folder, data=data, stages=chosen, model=model, force=force):
        typer.echo(f"wrote {path}")
    typer.echo(f"Next: {'' if folder == Path('.') else f'cd {folder} && '}plaudit run")
