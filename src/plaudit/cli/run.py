"""`plaudit run plaudit.yaml`: the stages of a project, those whose inputs changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit, figure
from plaudit.schema import UserError

MAIN = ("win_rate", "best.eval_reward", "best.eval_loss", "best.eval_accuracy", "pairs", "answers", "model.reward")
"""The first of these that a stage has stands in the table."""


def run(
    project: Annotated[Path, typer.Argument(help="The project's file, or its folder.")] = Path("plaudit.yaml"),
    only: Annotated[str | None, typer.Option(metavar="STAGE", help="This stage alone.")] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="STAGE", help="This stage and those that need it.")] = None,
    force: Annotated[
        str | None, typer.Option(metavar="STAGE", help="Run it again though nothing changed, and those that need it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run and why, and run nothing.")] = False,
    watched: Annotated[
        bool, typer.Option("--watch", help="Go round: sample, wait for people's judgements, learn from them, again.")
    ] = False,
    judgements: Annotated[int, typer.Option(help="With --watch: new judgements that a round waits for.", min=1)] = 50,
    rounds: Annotated[int | None, typer.Option(help="With --watch: rounds; without it until it is stopped.", min=1)] = None,
    as_json: AsJson = False,
) -> None:
    """Run a project's stages; what has not changed since is kept. Killed anywhere, the same command goes on.

    With --watch people judge through the pages (`plaudit feedback`) while it trains, and each round learns from what they said.
    Ctrl-C or SIGTERM writes a checkpoint first; the exit code is then 130 or 143.
    """
    from plaudit.pipeline.project.running import run as running
    from plaudit.training.run import STOPPED

    path = project / "plaudit.yaml" if project.is_dir() else project
    if watched:
        if only or start or force or dry_run:
            raise UserError("--watch runs all stages: leave out --only, --from, --force and --dry-run")
        from plaudit.pipeline.project.watch import watch
        from plaudit.training.progress import shown

        with shown() as progress:
            summary = watch(path, judgements=judgements, rounds=rounds, progress=progress)
    else:
        summary = running(path, only=only, start=start, force=force, dry_run=dry_run)
    if as_json:
        emit(summary, True)
    else:
        _table(summary, path.parent)
    raise typer.Exit(STOPPED.get(summary["status"], 0))


def _table(summary: dict[str, Any], place: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from plaudit.evaluation.report.words import duration

    table = Table("stage", "verb", "state", "why", "took", "figure", "folder", box=None, header_style="bold")
    for name, stage in summary["stages"].items():
        found = next((f"{key} {figure(stage['figures'][key])}" for key in MAIN if key in stage["figures"]), "")
        took = duration(stage["seconds"]) if stage["seconds"] is not None else ""
        table.add_row(name, stage["verb"], stage["state"], stage["reason"], took, found, stage["folder"])
    console = Console(highlight=False)
    console.print(table)
    if summary["status"] != "planned":
        console.print(f"Report: {place / summary['folder'] / 'report.html'}", markup=False, soft_wrap=True)
