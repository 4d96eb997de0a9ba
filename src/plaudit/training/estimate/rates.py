"""Rates of a machine: what was measured by a probe, how it is kept, and for which runs it serves."""

from __future__ import annotations

import hashlib
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from plaudit.config import Resolved
from plaudit.models.adapters import AdapterConfig
from plaudit.models.folder import cache_folder
from plaudit.models.outline import Outline
from plaudit.training.estimate.passes import Pass
from plaudit.training.files import write_text
from plaudit.training.options import OptimizerConfig, TrainingConfig

VERSION = 1


@dataclass(frozen=True)
class Rates:
    """Seconds per FLOP of each kind of pass, seconds that every pass takes besides, and what else was measured.

    decode_layer, decode_rest  (rows, seconds of a step: of one layer, of all that is not a layer) at two numbers of rows
    update  seconds per number that an optimiser moves (its gradient clipped, too); load: that is handed to the engine
    disk    seconds per byte of a checkpoint
    """

    machine: str
    dtype: str
    threads: int
    matmul: float
    """FLOP/s of one matrix product at the model's shapes."""
    bandwidth: float
    """Bytes/s of copying, reads and writes both counted."""
    forward: float
    forward_pass: float
    train: float
    train_pass: float
    head_forward: float
    head_train: float
    update: float
    disk: float
    prefill: float = 0.0
    decode_layer: tuple[tuple[int, float], ...] = ()
    decode_rest: tuple[tuple[int, float], ...] = ()
    load: float = 0.0

    def step(self, layers: int, rows: float) -> float:
        """Seconds of one decoding step of so many rows: linear between and beyond the two that were measured."""
        if not self.decode_layer:
            return 0.0
        each = [(n, layers * layer + rest) for (n, layer), (_, rest) in zip(self.decode_layer, self.decode_rest, strict=True)]
        (few, low), (many, high) = each[0], each[-1]
        if few == many:
            return high
        return max(min(low, high) / 2, low + (high - low) * (rows - few) / (many - few))


@dataclass(frozen=True)
class Wanted:
    """What a run will ask of the machine. rows: answers that are decoded side by side; places: tokens before each."""

    model: Outline
    options: Resolved
    bf16: bool
    typical: Pass
    trains_head: bool
    rows: int = 0
    places: int = 0

    @property
    def key(self) -> str:
        """Names the measurements that serve this run; lengths and batch sizes hardly move the rates, and are left out."""
        a, t = self.options[AdapterConfig], self.options[TrainingConfig]
        told = {
            "version": VERSION,
            "torch": torch.__version__,
            "machine": machine(),
            "threads": torch.get_num_threads(),
            "shape": asdict(self.model.shape),
            "kind": self.model.config.model_type,
            "bf16": self.bf16,
            "adapter": asdict(a) if a.use_peft else None,
            "layout": [t.gradient_checkpointing, t.packing, t.share_prompts, t.logit_chunk],
            "optim": self.options[OptimizerConfig].optim,
            "online": bool(self.rows),
            "head": self.trains_head,
        }
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:24]


def cached(wanted: Wanted) -> Rates | None:
    """The rates of an earlier probe that serve; None where there are none."""
    try:
        found: dict[str, Any] = json.loads(_file(wanted).read_text(encoding="utf-8"))
        for name in ("decode_layer", "decode_rest"):
            found[name] = tuple((int(rows), float(seconds)) for rows, seconds in found[name])
        return Rates(**found)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def machine() -> str:
    """The GPU's name, else the processor's."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _file(wanted: Wanted) -> Path:
    return cache_folder() / "probes" / f"{wanted.key}.json"


def keep(wanted: Wanted, rates: Rates) -> None:
    """Keep what was measured for later runs."""
    path = _file(wanted)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(asdict(rates), indent=1) + "\n")
