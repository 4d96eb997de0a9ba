"""`plaudit runs`: the run folders, newest first. It reads what the runs wrote and changes nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from plaudit.cli import spent
from plaudit.cli.show import AsJson, emit, figure
from plaudit.schema import UserError

FIGURES = ("win_rate", "accuracy", "eval_accuracy", "eval_reward", "eval_loss", "reward", "loss")
"""The first of these that a summary holds stands in the table."""


def runs(
    words: Annotated[list[str] | None, typer.Argument(metavar="[FOLDER] | show RUN", help="Where the runs lie (runs).")] = None,
    as_json: AsJson = False,
) -> None:
    """List the runs with their state, model, time and main figure; `show RUN` tells where the time and memory of one went."""
    if words and words[0] == "show" and len(words) == 2:
        told = spent.spent(Path(words[1]))
        emit(told, True) if as_json else spent.show(told)
        return
    if len(words or []) > 1:
        raise UserError("give one folder, or `plaudit runs show RUN`")
    found = listed(folder := Path(words[0] if words else "runs"))
    if as_json:
        emit(found, True)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("run", "verb", "state", "model", "seed", "age", "took", "figure", box=None, header_style="bold")
    for run in found:
        age, took = _span(time.time() - run["changed"]), _span(run["seconds"])
        table.add_row(run["id"], run["verb"], run["status"], run["model"], run["seed"], age, took, run["figure"])
    Console(highlight=False).print(table if found else f"No runs in {folder} yet; `plaudit demo` makes one.")


def listed(folder: Path) -> list[dict[str, Any]]:
    """One dict for each run folder, newest first. UserError: `folder` is not one; a folder that is not there holds no runs."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; name the folder that holds the runs")
    found = [_run(path) for path in sorted(folder.iterdir()) if path.is_dir()] if folder.exists() else []
    return sorted((run for run in found if run), key=lambda run: run["changed"], reverse=True)


def _run(path: Path) -> dict[str, Any] | None:
    """What one folder says of itself; None where it holds no run. A demo's stages are runs in folders of its own."""
    names = ("config.yaml", "metrics.jsonl", "summary.json")
    own = [path / name for name in names if (path / name).is_file()]
    stages = [file for name in names for file in path.glob(f"*/{name}")]
    if not own and not stages:
        return None
    summary, torn = _summary(path / "summary.json")
    config = _config(path / "config.yaml") or _config(path / "sft" / "config.yaml")
    seconds = summary.get("seconds")
    return {
        "id": path.name,
        "verb": str(summary.get("verb") or ("demo" if stages else "")),
        "status": "unreadable summary" if torn else str(summary.get("status") or ("finished" if summary else "unfinished")),
        "model": str(config.get("model_name_or_path") or summary.get("model") or ""),
        "seed": figure(summary.get("seed", config.get("seed"))),
        "changed": max(file.stat().st_mtime for file in [*own, *stages]),
        "seconds": seconds.get("total", sum(seconds.values())) if isinstance(seconds, dict) else seconds,
        "figure": _main_figure(summary),
        "folder": str(path),
    }


def _summary(file: Path) -> tuple[dict[str, Any], bool]:
    """The summary, and whether it is there but broken."""
    if not file.is_file():
        return {}, False
    try:
        content = json.loads(file.read_text("utf-8"))
    except (ValueError, OSError):
        return {}, True
    return (content, False) if isinstance(content, dict) else ({}, True)


def _config(file: Path) -> dict[str, Any]:
    """The options of a run; none where the file is missing or broken."""
    from plaudit.flatyaml import read

    try:
        return {name: given.value for name, given in read(file).items()}
    except UserError:
        return {}


def _main_figure(summary: dict[str, Any]) -> str:
    shelves = [summary, *(value for value in summary.values() if isinstance(value, dict))]
    for name in FIGURES:
        for shelf in shelves:
            if isinstance(shelf.get(name), int | float):
                return f"{name} {figure(float(shelf[name]))}"
    return ""


def _span(seconds: float | None) -> str:
    """A length of time in its largest fitting unit: 42 s, 7 min, 3 h, 2 d."""
    if seconds is None:
        return ""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
