"""TensorBoard: event files under `tensorboard/` of the run's folder. `tensorboard --logdir runs` shows all runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from plaudit.schema import JSON


class TensorBoard:
    """Scalars by step. A run that goes on marks what was written after its checkpoint as void, so no step has two points."""

    def start(self, config: Mapping[str, Any], step: int) -> None:
        folder = Path(config["output_dir"]) / "tensorboard"
        began = folder.exists()
        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if began else None)
        if not began:
            self.writer.add_text("config", "\n".join(f"    {name}: {value}" for name, value in config.items()))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def finish(self, summary: JSON) -> None:
        self.writer.close()
