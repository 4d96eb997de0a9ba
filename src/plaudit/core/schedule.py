"""Learning-rate schedules with warm-up, as pure functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "constant_with_warmup", "linear", "cosine", "cosine_with_min_lr", "warmup_stable_decay"]
Decay = Literal["linear", "cosine", "1-sqrt"]


def factor(
    step: int,
    *,
    total: int,
    warmup: int = 0,
    schedule: Schedule = "linear",
    floor: float = 0.0,
    decay_steps: int | None = None,
    decay: Decay = "1-sqrt",
) -> float:
    """What the base learning rate is multiplied with at optimiser step `step` (0-based) of `total`.

    Warm-up climbs (step + 1) / warmup; then constant, linear to `floor`, or half a cosine to `floor`. The first step after
    warm-up has factor 1 and the step that would follow the last has `floor`. warmup_stable_decay (Hu et al. 2024, arXiv
    2404.06395; 1 - sqrt: Haegele et al. 2024, arXiv 2405.18392) stays at 1 and falls to `floor` in the last `decay_steps`
    (None: a fifth of the run).
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule in ("constant", "constant_with_warmup"):
        return 1.0
    start, shape = warmup, _SHAPES.get(schedule)
    if schedule == "warmup_stable_decay":
        start = max(warmup, total - (max(1, total // 5) if decay_steps is None else decay_steps))
        shape = decay
    if shape is None:
        raise ValueError(f"lr_scheduler_type is one of {', '.join(Schedule.__args__)}, not {schedule!r}")  # type: ignore[attr-defined]
    progress = min(1.0, max(0, step - start) / max(1, total - start))
    return floor + (1.0 - floor) * _left(progress, shape)


_SHAPES: dict[str, Decay] = {"linear": "linear", "cosine": "cosine", "cosine_with_min_lr": "cosine"}


def _left(progress: float, shape: Decay) -> float:
    """What is left of the height after a share of the way down."""
    if shape == "linear":
        return 1.0 - progress
    if shape == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - math.sqrt(progress)
