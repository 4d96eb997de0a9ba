"""What an estimate is made of: frozen figures, in bytes, FLOPs and seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["forward", "train", "prefill", "decode"]
MEMORY_RANGE = (0.8, 1.25)
"""Peak memory lies between so many times its estimate (docs/estimate.md has the runs that say so)."""
TIME_RANGE = (0.7, 2.4)
"""Likewise seconds where this machine was probed: wide, since the runs that say so shared it with other jobs."""
FAR_RANGE = (0.4, 2.5)
"""Likewise seconds on a machine of which only the data sheet is known: an assumption, since none was measured."""


@dataclass(frozen=True)
class Work:
    """FLOPs of one kind in one phase of one step (or evaluation).

    trunk, head   FLOPs of the layers, of the output head
    passes        passes (or decoding steps) that they come in
    rows, places  of decoding: rows that are written at one time, and tokens of each that the cache holds at the middle
    parameters    numbers that an optimiser moves, for phase update; that are handed to the engine, for phase rollout
    """

    phase: str
    part: str
    kind: Kind
    trunk: float = 0.0
    head: float = 0.0
    passes: float = 0.0
    rows: float = 0.0
    places: float = 0.0
    parameters: float = 0.0
    width: int = 0
    """Layers of the model that it runs on, where it is not the policy's: 0 is the policy's."""

    @property
    def flops(self) -> float:
        """All of them."""
        return self.trunk + self.head

    def times(self, factor: float) -> Work:
        """The work of so many of these."""
        return Work(
            self.phase,
            self.part,
            self.kind,
            self.trunk * factor,
            self.head * factor,
            self.passes * factor,
            self.rows,
            self.places,
            self.parameters * factor,
            self.width,
        )


@dataclass(frozen=True)
class Memory:
    """Bytes at the run's largest moment.

    parts    what is in memory then, by name
    moment   which moment that is: building, rollout, update, checkpoint, saving
    moments  bytes of all moments
    """

    parts: Mapping[str, int]
    moment: str
    moments: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes beside what Python and its libraries take."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class Counts:
    """How often things happen in the run. steps None: no file and no option says how many."""

    steps: int | None
    evaluations: int
    checkpoints: int


@dataclass(frozen=True)
class Place:
    """What a run takes on one machine. fits: its memory is enough; None where that is not known."""

    name: str
    seconds: Mapping[str, float]
    fits: bool | None
    memory_bytes: int | None
    price: float | None
    """Assumed, in US dollars an hour."""
    interval: tuple[float, float] = FAR_RANGE
    step: float = 0.0
    """Seconds of one step."""
    measured: bool = False

    @property
    def total(self) -> float:
        """Seconds of the whole run, or of one step where their number is not known."""
        return sum(self.seconds.values())

    @property
    def cost(self) -> float | None:
        """In US dollars."""
        return None if self.price is None else self.price * self.total / 3600


@dataclass(frozen=True)
class Hint:
    """A change of options and what it does to memory (bytes) and seconds, by the same estimate."""

    change: str
    memory: int
    seconds: float | None
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """All of it. `work` is of the whole run (of one step where `counts.steps` is None)."""

    verb: str
    model: str
    parameters: int
    trained: int
    dtype: str
    counts: Counts
    tokens: int
    """Tokens of one step that are trained on, prompts included."""
    memory: Memory
    work: tuple[Work, ...]
    here: Place | None
    others: tuple[Place, ...]
    hints: tuple[Hint, ...] = ()
    notes: tuple[str, ...] = field(default=())
    rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def flops(self) -> dict[str, float]:
        """FLOPs by part."""
        found: dict[str, float] = {}
        for work in self.work:
            if work.flops:
                found[f"{work.phase}: {work.part}"] = found.get(f"{work.phase}: {work.part}", 0.0) + work.flops
        return found
