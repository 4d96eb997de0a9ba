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
    """One W&B run for each of ours. A run that goes on keeps its id and leaves out the lines that it sent before."""

    def start(self, config: Mapping[str, Any], step: int) -> None:
        folder = Path(config["output_dir"])
        self.note = folder / "wandb.json"
        known = json.loads(self.note.read_text()) if self.note.exists() else {"id": secrets.token_hex(4), "lines": 0}
        written = folder / "metrics.jsonl"
        there = len(written.read_text(encoding="utf-8").splitlines()) if written.exists() else 0
        self.id, self.lines, self.sent = known["id"], there, known["lines"]
        settings = wandb.Settings(console="off", save_code=False, disable_git=True, silent=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "plaudit"),
            name=os.environ.get("WANDB_NAME", folder.name),
            id=self.id,
            resume="allow",
            dir=str(folder),
            config=dict(config),
            settings=settings,
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.lines += 1
        if self.lines <= self.sent:
            return  # the process that died had sent this line; made again, it is the same
        self.run.log(dict(metrics), step=step)
        self.note.write_text(json.dumps({"id": self.id, "lines": self.lines}))

    def finish(self, summary: JSON) -> None:
        self.run.summary.update({f"summary/{name}": value for name, value in summary.items()})
        self.run.finish(exit_code=0 if summary.get("status") in ("finished", "early") else 1)
