"""The best evaluation of a run so far."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class Best:
    """The best evaluation so far, and how many have come since."""

    metric: str
    greater_is_better: bool
    step: int = 0
    value: float | None = None
    since: int = 0

    def see(self, step: int, value: float) -> bool:
        """Take note of an evaluation; True where it is the best. One that is no number never is."""
        better = not math.isnan(value) and (
            self.value is None or (value > self.value if self.greater_is_better else value < self.value)
        )
        if better:
            self.step, self.value, self.since = step, value, 0
        else:
            self.since += 1
        return better
