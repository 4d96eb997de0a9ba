"""The folder of a run: what a person can read, and what a later process goes on from.

config.yaml    every option as it was resolved        metrics.jsonl  one line a logged step (timings begin with `time/`)
samples.jsonl  answers with their rewards             events.log     what happened: checkpoints, refused steps, stops
evaluations.jsonl  the held-out answers' rewards and lengths, one line an evaluation
inputs.json    digests of data and models it reads    summary.json   the result, written last
control.json   what somebody asked of it (pause, stop) state.json     the process, and whether it goes on or waits
checkpoint-N/  see training.checkpoint                model/         the trained model (adapter/: the adapter by itself)
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
from plaudit.schema import JSON, UserError, json_lines
from plaudit.training import checkpoint
from plaudit.training.files import hold, write_text

LOGS = ("metrics.jsonl", "samples.jsonl", "evaluations.jsonl")
MAY_CHANGE = frozenset(
    {
        "logging_steps",
        "save_total_limit",
        "output_dir",
        "place",
        "load_best_model_at_end",
        "report_to",
        "guard",
        "guard_kl_budget",
    }
)
"""Options that do not touch the trajectory, so a resumed run may have others."""


class RunFolder:
    """One run's files, held by one process at a time. A resumed run cuts its logs back to the checkpoint."""

    def __init__(self, path: Path, config: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self._inputs: dict[str, str] = {}
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._held = hold(path)
        except OSError as problem:
            raise UserError(f"output_dir {path} cannot be written: {problem.strerror}; choose another folder") from problem
        saved = path / "config.yaml"
        if saved.exists() and self._begun():
            if not resume:
                self.close()
                raise UserError(f"output_dir {path} already holds a run; go on with --resume, or choose another folder")
            before = yaml.safe_load(saved.read_text(encoding="utf-8"))
            changed = diff(before, dict(config), ignore=MAY_CHANGE)
            if changed:
                self.close()
                raise UserError(
                    f"{path} was started with another config: {'; '.join(changed)}; put it back, or choose another folder"
                )
            if (path / "inputs.json").exists():
                self._inputs = json.loads((path / "inputs.json").read_text(encoding="utf-8"))
        write_text(saved, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def _begun(self) -> bool:
        """Whether anything was trained here: a start that failed on its options or data leaves the folder free."""
        return (self.path / "metrics.jsonl").exists() or bool(checkpoint.steps(self.path))

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let another process have the folder."""
        self._held.close()

    def inputs(self, **digests: str) -> None:
        """Note by content what the run reads, by option name; UserError where a resumed run would read something else."""
        for option, digest in digests.items():
            if self._inputs.setdefault(option, digest) != digest:
                raise UserError(
                    f"{self.path} cannot go on: {option} no longer has the content that it was started with; put that back, "
                    "or choose another folder"
                )
        write_text(self.path / "inputs.json", json.dumps(self._inputs, indent=2) + "\n")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line to metrics.jsonl."""
        self._append("metrics.jsonl", {"step": step, **metrics})

    def sample(self, step: int, record: JSON) -> None:
        """Append one line to samples.jsonl."""
        self._append("samples.jsonl", {"step": step, **record})

    def evaluation(self, step: int, record: Mapping[str, Any]) -> None:
        """Append one line to evaluations.jsonl."""
        self._append("evaluations.jsonl", {"step": step, **record})

    def evaluations(self) -> list[JSON]:
        """All lines of evaluations.jsonl."""
        return self._lines("evaluations.jsonl")

    def event(self, text: str) -> None:
        """Append one dated line to events.log."""
        with open(self.path / "events.log", "a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n")

    def sizes(self) -> dict[str, int]:
        """Bytes of each log, once they are on the disk: what a checkpoint notes, for `cut`."""
        found = {}
        for name in LOGS:
            if (self.path / name).exists():
                with open(self.path / name, "ab") as file:
                    os.fsync(file.fileno())
                    found[name] = file.tell()
        return found

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Cut the logs back to these sizes: what came after will be made again, the same to the last bit."""
        for name in LOGS:
            path = self.path / name
            if path.exists():
                os.truncate(path, min(sizes.get(name, 0), path.stat().st_size))

    def metrics(self) -> list[JSON]:
        """All lines of metrics.jsonl."""
        return self._lines("metrics.jsonl")

    def _lines(self, name: str) -> list[JSON]:
        path = self.path / name
        return [json.loads(line) for line in json_lines(path.read_text(encoding="utf-8"))] if path.exists() else []

    def finished(self) -> JSON | None:
        """summary.json of a run that came to its end; None where anything of it is missing."""
        path = self.path / "summary.json"
        if not path.exists() or not (self.path / "model").is_dir():
            return None
        return json.loads(path.read_text(encoding="utf-8"))

    def finish(self, summary: JSON) -> None:
        """Write summary.json."""
        write_text(self.path / "summary.json", json.dumps(summary, indent=2, ensure_ascii=False) + "\n")

    def _append(self, name: str, record: JSON) -> None:
        with open(self.path / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
