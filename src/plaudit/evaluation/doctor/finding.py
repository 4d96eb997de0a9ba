"""What a rule is, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from plaudit.schema import JSON

if TYPE_CHECKING:
    from plaudit.evaluation.doctor.evidence import Evidence

Status = Literal["ok", "watch", "act", "unknown"]
ORDER: tuple[Status, ...] = ("act", "watch", "unknown", "ok")
"""The gravest first."""


@dataclass(frozen=True)
class Finding:
    """One rule's answer, as `plaudit doctor --json` prints it.

    Example: `Finding("kl_budget", "watch", 12.4, (11.0, 13.1), "KL per answer: watch above 10 nats ...", "TRL #612 ...",
    ("kl_coef is too low", ...), "train again with kl_target=6")`.
    """

    rule: str
    status: Status
    value: float | None
    """The figure that was compared with the threshold; None where nothing could be measured."""
    interval: tuple[float, float] | None
    """Ends of its interval (95 % unless the threshold says otherwise); None where there is none."""
    threshold: str
    """What is compared with what, with its unit."""
    source: str
    """Where the threshold comes from; "house rule" where nobody published one."""
    causes: tuple[str, ...] = ()
    """The likeliest first; of `unknown`, what is missing."""
    next: str = ""
    """The next command, or the options to change."""

    def to_json(self) -> JSON:
        """A plain dict."""
        return {**asdict(self), "interval": list(self.interval) if self.interval else None, "causes": list(self.causes)}


@dataclass(frozen=True)
class Reading:
    """What a rule measured. Causes and advice of its own come before those that the rule always gives."""

    status: Status
    value: float | None = None
    interval: tuple[float, float] | None = None
    causes: tuple[str, ...] = ()
    next: str = ""


def unknown(missing: str) -> Reading:
    """Nothing can be said, for want of `missing`: never ok."""
    return Reading("unknown", causes=(missing,))


def graded(value: float, watch: float, act: float) -> Status:
    """Of a figure that should stay low. One that is no number is not ok."""
    return "unknown" if math.isnan(value) else "act" if value > act else "watch" if value > watch else "ok"


def worse(*found: Status) -> Status:
    """The gravest of some statuses."""
    return min(found, key=ORDER.index)


@dataclass(frozen=True)
class Rule:
    """One difficulty: how it shows, from which value on, why it happens, and what to do."""

    name: str
    number: int
    """Its place in the list."""
    about: str
    """What it asks, in one line."""
    threshold: str
    source: str
    causes: tuple[str, ...]
    next: str
    examine: Callable[[Evidence], Reading]
    metrics: tuple[str, ...] = ()
    """Names of the series to plot (doctor/names.py)."""
    kinds: tuple[str, ...] = ("run",)
    """Where its figure can be found at all: in a run, a dataset, a model."""

    def __call__(self, evidence: Evidence) -> Finding:
        """Look at the evidence. A figure that is not finite is given as None, and is never ok."""
        found = self.examine(evidence)
        value = found.value if found.value is not None and math.isfinite(found.value) else None
        if found.status == "ok" and value is None:
            found = unknown("a figure that is finite: the log holds none")
        ends = found.interval if found.interval and all(map(math.isfinite, found.interval)) else None
        causes, advice = found.causes, ""
        if found.status in ("watch", "act"):
            causes, advice = (*causes, *(cause for cause in self.causes if cause not in causes)), found.next or self.next
        return Finding(self.name, found.status, value, ends, self.threshold, self.source, causes, advice)
