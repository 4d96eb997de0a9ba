"""What a run folder holds, read without trust: whatever is missing is empty, whatever is broken is counted and told."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from plaudit.schema import JSON, UserError

DATA_OPTIONS = ("train_file", "eval_file")
MODEL_OPTIONS = ("model_name_or_path", "reward_model_path", "ref_model_name_or_path")


def number(value: Any) -> float | None:
    """A finite number as it is; None for anything else that a file may hold in its place."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def numbers(value: Any) -> dict[str, float]:
    """The entries of a mapping that are finite numbers."""
    entries = value.items() if isinstance(value, Mapping) else ()
    return {str(name): found for name, one in entries if (found := number(one)) is not None}


@dataclass(frozen=True)
class RunFiles:
    """One run; every part may be empty."""

    name: str
    folder: Path
    config: JSON = field(default_factory=dict)
    summary: JSON = field(default_factory=dict)
    usage: JSON = field(default_factory=dict)
    estimate: JSON = field(default_factory=dict)
    inputs: JSON = field(default_factory=dict)
    evaluation: JSON = field(default_factory=dict)
    """evaluate.json: what `plaudit evaluate ... --json` printed."""
    card: JSON = field(default_factory=dict)
    """card.json: what `plaudit card ... --json` printed."""
    metrics: Sequence[JSON] = ()
    samples: Sequence[JSON] = ()
    traces: Sequence[JSON] = ()
    problems: Sequence[str] = ()
    """Sentences on what could not be read."""

    @property
    def verb(self) -> str:
        return str(self.summary.get("verb") or "")

    @property
    def state(self) -> str:
        return str(self.summary.get("status") or ("finished" if self.summary else "unfinished"))

    def points(self, metric: str) -> list[tuple[float, float]]:
        """(step, value) of a metric; lines without it are left out, values that are no numbers are gaps."""
        return [
            (float(line["step"]), float(line[metric]) if isinstance(line[metric], int | float) else float("nan"))
            for line in self.metrics
            if metric in line and isinstance(line.get("step"), int | float)
        ]

    def last(self, metric: str) -> float | None:
        """The latest value of a metric."""
        points = self.points(metric)
        return points[-1][1] if points else None


def run_folders(names: Sequence[str | Path]) -> list[Path]:
    """The folders that `names` mean: runs by folder or id (under runs/), of a demo or project its stages.

    UserError where there are none.
    """
    found: list[Path] = []
    for name in names:
        folder = next((path for path in (Path(name), Path("runs") / name) if path.is_dir()), None)
        if folder is None:
            raise UserError(f"{name} is no run folder; `plaudit runs` lists the runs")
        stages = [path.parent for path in sorted(folder.glob("*/metrics.jsonl"), key=lambda p: p.stat().st_mtime)]
        own = [folder] if (folder / "metrics.jsonl").is_file() or (folder / "config.yaml").is_file() else []
        if not own and not stages:
            raise UserError(f"{folder} holds no run: there is neither config.yaml nor metrics.jsonl in it")
        found += own or stages
    return list(dict.fromkeys(found))


def read_run(folder: Path, name: str | None = None) -> RunFiles:
    """All that is there."""
    problems: list[str] = []
    objects: dict[str, JSON] = {
        part: _object(folder / f"{file}.json", problems)
        for part, file in (
            ("summary", "summary"),
            ("usage", "usage"),
            ("estimate", "estimate"),
            ("inputs", "inputs"),
            ("evaluation", "evaluate"),
            ("card", "card"),
        )
    }
    traces = _json(folder / "trace.json", problems)
    metrics, samples = (_lines(folder / f"{part}.jsonl", problems) for part in ("metrics", "samples"))
    if not metrics:
        problems.append("metrics.jsonl holds nothing that was measured")
    return RunFiles(
        name or folder.name,
        folder,
        config=_config(folder / "config.yaml", problems),
        metrics=metrics,
        samples=samples,
        traces=[one for one in traces if isinstance(one, dict)] if isinstance(traces, list) else [],
        problems=problems,
        **objects,
    )


def names_of(folders: Sequence[Path]) -> list[str]:
    """Short names that differ: the last part of each path, with its parent where two are the same."""
    short = [folder.name for folder in folders]
    return [
        f"{folder.absolute().parent.name}/{folder.name}"
        if short.count(folder.name) > 1 or folder.name in ("sft", "reward", "ppo")
        else name
        for folder, name in zip(folders, short, strict=True)
    ]


def _json(path: Path, problems: list[str]) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        problems.append(f"{path.name} cannot be read ({str(problem)[:80]})")
        return None


def _object(path: Path, problems: list[str]) -> JSON:
    found = _json(path, problems)
    if found is not None and not isinstance(found, dict):
        problems.append(f"{path.name} holds no object")
    return found if isinstance(found, dict) else {}


def _lines(path: Path, problems: list[str]) -> list[JSON]:
    """The lines that are objects; those that are not are counted."""
    if not path.is_file():
        return []
    found, broken = [], 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                one = json.loads(line)
            except ValueError:
                one = None
            if isinstance(one, dict):
                found.append(one)
            else:
                broken += bool(line.strip())
    if broken:
        problems.append(f"{broken} lines of {path.name} cannot be read and were left out")
    return found


def _config(path: Path, problems: list[str]) -> JSON:
    if not path.is_file():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as problem:
        problems.append(f"{path.name} cannot be read ({' '.join(str(problem).split())[:80]})")
        return {}
    return dict(found) if isinstance(found, Mapping) else {}
