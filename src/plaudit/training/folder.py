"""The folder of a run: what a person can read, and what a later process goes on from.

config.yaml    every option as it was resolved        metrics.jsonl  one line a logged step (timings begin with `time/`)
samples.jsonl  answers with their rewards             events.log     what happened: checkpoints, refused steps, stops
checkpoint-N/  see training.checkpoint                summary.json   the result, written last
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from plaudit.config import diff
from plaudit.schema import JSON, UserError

MAY_CHANGE = frozenset({"logging_steps", "save_total_limit", "output_dir", "place"})
"""Options that do not touch the trajectory, so a resumed run may have others."""


class RunFolder:
    """One run's files. Lines are appended and flushed; on resume everything after the checkpoint is cut off."""

    def __init__(self, path: Path, config: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            probe = path / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as problem:
            raise UserError(f"output_dir {path} cannot be written: {problem.strerror}; choose another folder") from problem
        saved = path / "config.yaml"
        if saved.exists():
            if not resume:
                raise UserError(f"output_dir {path} already holds a run; go on with --resume, or choose another folder")
            before = yaml.safe_load(saved.read_text())
            changed = diff(before, dict(config), ignore=MAY_CHANGE)
            if changed:
                raise UserError(
                    f"{path} was started with another config: {'; '.join(changed)}; put it back, or choose another folder"
                )
        write_text(saved, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl."""
        self._append("metrics.jsonl", {"step": step, **metrics})

    def sample(self, step: int, record: JSON) -> None:
        """Append one line to samples.jsonl."""
        self._append("samples.jsonl", {"step": step, **record})

    def event(self, text: str) -> None:
        """Append one dated line to events.log."""
        with open(self.path / "events.log", "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def cut_after(self, step: int) -> None:
        """Drop metrics and samples of steps after `step`: they will be made again, the same to the last bit."""
        for name in ("metrics.jsonl", "samples.jsonl"):
            path = self.path / name
            if path.exists():
                kept = [line for line in path.read_text(encoding="utf-8").split("\n") if _step_of(line) <= step]
                write_text(path, "".join(f"{line}\n" for line in kept))

    def metrics(self) -> list[JSON]:
        """All lines of metrics.jsonl."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def finish(self, summary: JSON) -> None:
        """Write summary.json."""
        write_text(self.path / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")

    def _append(self, name: str, record: JSON) -> None:
        with open(self.path / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _step_of(line: str) -> float:
    """The step of a JSON line; infinite for an empty or torn one, so that it is cut."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def write_text(path: Path, text: str) -> None:
    """Replace a file in one move: a reader sees the old content or the new."""
    beside = path.with_name(f".{path.name}.tmp")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
