"""Runs as they train: curves and samples, kept up to date by server-sent events; pause, stop, and branches.

It reads what runs write. What is asked of a run goes into a file in its folder (`training.control`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from plaudit.evaluation.report.curves import chart
from plaudit.evaluation.report.parts import Curve
from plaudit.feedback.asking import Ask, ask
from plaudit.feedback.branches import checkpoints, options_of
from plaudit.schema import JSON, UserError, json_lines
from plaudit.store import Missing
from plaudit.training.control import State, state_of, steer

router = APIRouter()
Viewing = Annotated[Ask, Depends(ask("viewer"))]
Admin = Annotated[Ask, Depends(ask("admin"))]
FIRST = (
    "reward",
    "objective/scores",
    "loss",
    "objective/kl",
    "kl",
    "accuracy",
    "rewards/accuracies",
    "completions/mean_length",
)
"""Metrics that are drawn first; the others follow in the order of their names."""
MOST_CURVES, MOST_POINTS, MOST_SAMPLES = 24, 400, 6
TAIL = 200_000
"""Bytes at the end of samples.jsonl that are read."""
POLL = 1.0


@dataclass(frozen=True)
class Run:
    """A folder with a run: its name under the runs' folder, and whether it is finished."""

    name: str
    path: Path
    finished: bool
    changed: float


def runs(folder: Path) -> list[Run]:
    """Every run up to three folders deep, the one that wrote last first."""
    found = []
    for depth in ("*", "*/*", "*/*/*"):
        for file in folder.glob(f"{depth}/metrics.jsonl"):
            path = file.parent
            if path.is_symlink() or any(parent.is_symlink() for parent in path.relative_to(folder).parents):
                continue  # `latest` leads to a run that is listed by its own name
            name = path.relative_to(folder).as_posix()
            found.append(Run(name, path, (path / "summary.json").exists(), file.stat().st_mtime))
    return sorted(found, key=lambda run: -run.changed)


def lines(path: Path) -> list[JSON]:
    """The whole lines of a JSONL file; the last may be half written."""
    if not path.exists():
        return []
    found = []
    for line in json_lines(path.read_text("utf-8", errors="replace")):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def curves(metrics: Sequence[JSON]) -> list[Curve]:
    """One curve for each metric; what was measured on held-out rows on the axes of what was measured in training."""
    points: dict[str, list[tuple[float, float]]] = {}
    for row in metrics:
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool) and "step" in row:
                points.setdefault(name, []).append((float(row["step"]), float(value)))
    order = {name: place for place, name in enumerate(FIRST)}
    training = [name for name in points if not name.startswith(("eval_", "time/"))]
    training.sort(key=lambda name: (order.get(name, len(order)), name))
    found = []
    for name in training[:MOST_CURVES]:
        held_out = points.get(f"eval_{name}")
        others = {"held-out": thinned(held_out)} if held_out else {}
        found.append(Curve(name, "", thinned(points[name]), label="training" if others else "", others=others))
    return found


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most MOST_POINTS of the points, evenly; the last is always there."""
    stride = -(-len(points) // MOST_POINTS)
    return [*points[: len(points) - 1 : stride], points[-1]] if stride > 1 else list(points)


def samples(path: Path) -> list[JSON]:
    """The newest answers, newest first."""
    file = path / "samples.jsonl"
    if not file.exists():
        return []
    with open(file, "rb") as opened:
        opened.seek(max(0, file.stat().st_size - TAIL))
        tail = json_lines(opened.read().decode("utf-8", "replace"))
    found: list[JSON] = []
    for line in reversed(tail):
        try:
            row = json.loads(line)
        except ValueError:
            continue  # cut by the tail, or half written
        found.append(row)
        if len(found) == MOST_SAMPLES:
            break
    return found


@router.get("/runs")
def listed(asked: Viewing) -> Response:
    return asked.page("runs.html", runs=runs(asked.server.settings.runs), branches=asked.server.branches.list())


@router.get("/runs/{name:path}/events")
def events(asked: Viewing, name: str) -> Response:
    """The page's changing part, again whenever the run has written something."""
    run = named(asked, name)
    return StreamingResponse(_events(asked, run), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


@router.get("/runs/{name:path}")
def watched(asked: Viewing, name: str) -> Response:
    run = named(asked, name)
    return asked.page("run.html", run=run, checkpoints=checkpoints(run.path), **_state(run))


@router.post("/runs/{name:path}/steer")
def steered(asked: Admin, name: str) -> Response:
    """Asks a run to wait, to go on or to stop."""
    steer(named(asked, name).path, asked.text("wanted", 10), asked.me.name)
    return asked.go(f"/runs/{name}")


@router.post("/runs/{name:path}/branch")
def branched(asked: Admin, name: str) -> Response:
    """Begins a run that goes on from a checkpoint."""
    step = asked.text("step", 12)
    if not step.isdecimal():
        raise UserError("choose a checkpoint to branch from")
    asked.server.branches.begin(named(asked, name).name, int(step), options_of(asked.text("options", 5000)))
    return asked.go("/runs")


def named(asked: Ask, name: str) -> Run:
    """A run that is listed; a name never becomes a path."""
    found = next((run for run in runs(asked.server.settings.runs) if run.name == name), None)
    if found is None:
        raise Missing(f"there is no run {name!r} here: look at the list of runs")
    return found


def _state(run: Run) -> dict[str, Any]:
    metrics = lines(run.path / "metrics.jsonl")
    steps = [row["step"] for row in metrics if isinstance(row.get("step"), int | float)]
    return {
        "charts": "".join(chart(one) for one in curves(metrics)),
        "samples": samples(run.path),
        "step": int(max(steps)) if steps else 0,
        "finished": (run.path / "summary.json").exists(),
        "state": state_of(run.path),
    }


async def _events(asked: Ask, run: Run) -> AsyncIterator[str]:
    seen: tuple[int, bool, State | None] | None = None
    while not asked.server.ending.is_set():
        size = (run.path / "metrics.jsonl").stat().st_size
        state = size, (run.path / "summary.json").exists(), state_of(run.path)
        if state != seen:
            seen = state
            values = await run_in_threadpool(_state, run)
            html = bytes(asked.page("_run.html", run=run, **values).body).decode()
            yield f"event: run\ndata: {json.dumps({'html': html, 'finished': values['finished']})}\n\n"
            if values["finished"]:
                return
        else:
            yield ": still here\n\n"
        await asyncio.sleep(POLL)
