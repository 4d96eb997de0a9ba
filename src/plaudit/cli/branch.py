"""`plaudit branch RUN STEP`: train on from a checkpoint in a folder of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.show import AsJson, emit
from plaudit.schema import UserError


def branch(
    run: Annotated[Path, typer.Argument(help="The run's folder.")],
    step: Annotated[int, typer.Argument(help="One of its checkpoints.", min=0)],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options that are to be others from here on.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The new run's folder; RUN-from-STEP where it is not given.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="The run's algorithm, where its folder does not say.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train on from a checkpoint of a run, with the same options or others; the run itself stays as it is.

    With the same options the branch is what the run would have become, to the last bit.
    """
    from plaudit.config import load
    from plaudit.training.branch import branch as begin
    from plaudit.training.branch import verb_of
    from plaudit.training.run import STOPPED, sections, train

    target = to or run.with_name(f"{run.name}-from-{step}")
    verb = algorithm or verb_of(run)
    wrong = next((word for word in words or [] if "=" not in word or word.startswith("output_dir=")), None)
    if wrong is not None:
        raise UserError(f"{wrong} is no option to change; options are KEY=VALUE, and the folder is --to")
    classes, defaults = sections(verb)
    options = [*(words or []), f"output_dir={target}"]
    resolved = load(classes, run / "config.yaml", options, defaults)  # checked before anything is copied
    begin(run, step, target, resolved.flat(), [word.partition("=")[0] for word in words or []])
    result = train(verb, resolved, resume=True)
    emit(result, as_json, f"Branch of {run.name} at step {step}")
    raise typer.Exit(STOPPED.get(str(result["status"]), 0))
