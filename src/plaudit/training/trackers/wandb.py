"""Weights & Biases. `WANDB_MODE=offline` keeps all in the run's folder until `wandb sync`; `WANDB_PROJECT` is the project."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # its crash reports go to a third party: only who asks for that

import wandb

from plaudit.schema import JSON


class WandB:
    """One W&B run for each of ours, which always holds every line of metrics.jsonl once.

    W&B keeps lines in memory, so what an offline process that was killed had not written is lost there. A run that goes on
    after such an end is a new W&B run and gets all lines; after a proper stop it keeps its id and gets the new ones.
    """

    def start(self, config: Mapping[str, Any], step: int) -> None:
        folder = Path(config["output_dir"])
        self.note = folder / "wandb.json"
        known: JSON = json.loads(self.note.read_text()) if self.note.exists() else {}
        torn = known.get("open", False) and os.environ.get("WANDB_MODE") == "offline"
        self.id: str = secrets.token_hex(4) if torn or not known else known["id"]
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "plaudit"),
            name=os.environ.get("WANDB_NAME", folder.name),
            id=self.id,
            resume="allow",
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(console="off", save_code=False, disable_git=True, silent=True),
        )
        self.lines = 0 if torn else int(known.get("lines", 0))
        self._write(open=True)
        written = folder / "metrics.jsonl"
        there = written.read_text(encoding="utf-8").splitlines() if written.exists() else []
        for line in there[self.lines :]:
            metrics = json.loads(line)
            self.log(metrics.pop("step"), metrics)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.lines += 1
        self.run.log(dict(metrics), step=step)

    def finish(self, summary: JSON) -> None:
        self.run.summary.update({f"summary/{name}": value for name, value in summary.items()})
        self.run.finish(exit_code=0 if summary.get("status") in ("finished", "early") else 1)
        self._write(open=False)

    def _write(self, *, open: bool) -> None:
        """Note which W&B run this is, how many lines it has for certain, and whether it was ended properly."""
        self.note.write_text(json.dumps({"id": self.id, "lines": self.lines, "open": open}) + "\n")
