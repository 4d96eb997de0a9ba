"""Learning-rate schedules with warm-up, as pure functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "linear", "cosine"]


def factor(step: int, *, total: int, warmup: int = 0, schedule: Schedule = "linear", floor: float = 0.0) -> float:
    """What the base learning rate is multiplied with at optimiser step `step` (0-based) of `total`.

    Warm-up climbs (step + 1) / warmup; then constant, linear to `floor`, or half a cosine to `floor`. The first step after
    warm-up has factor 1 and the step that would follow the last has `floor`.
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "constant":
        return 1.0
    if schedule == "linear":
        return floor + (1.0 - floor) * (1.0 - progress)
    if schedule == "cosine":
        return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))
    raise ValueError(f"lr_scheduler_type is constant, linear or cosine, not {schedule!r}")
