"""Where the time and memory of a run went: a stopwatch that knows in which phase the run is, and usage.json.

Phases nest, and each second counts once: for the innermost phase. An evaluation keeps what happens in it (its answers, their
rewards), but for the checkpoint that it may end with. What no phase claims is `other`: reading data, writing logs, Python.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch

from plaudit.schema import JSON
from plaudit.training.files import write_text

P = ParamSpec("P")
R = TypeVar("R")
PHASES = ("start", "rollout", "reward", "scoring", "update", "evaluation", "checkpoint", "saving", "other")
"""In the order in which they are shown. start: reading data and models; saving: the trained model and what goes with it."""
KEEPS = {"evaluation": {"checkpoint"}}
"""Phases that keep what happens inside, and what they let go all the same."""
FILE = "usage.json"


class Usage:
    """Seconds by phase, tokens, and the peak of memory, of one process's part of a run."""

    def __init__(self, before: JSON | None = None) -> None:
        """`before`: what usage.json says of earlier processes of the same run, which is added."""
        self.seconds = {**dict.fromkeys(PHASES, 0.0), **(before or {}).get("seconds", {})}
        self.tokens: dict[str, int] = {"trained_on": 0, "generated": 0, **(before or {}).get("tokens", {})}
        self.peak = int((before or {}).get("peak_memory_bytes", 0))
        self.processes = int((before or {}).get("processes", 0)) + 1
        self.before = self._high = peak_memory()
        self.peaks: dict[str, int] = {}
        """Phase -> the peak of the process so far when the phase last raised it."""
        self.started = time.perf_counter()
        self._phases = ["other"]
        self._lap = dict(self.seconds)
        self._since = self.started

    @property
    def phase(self) -> str:
        """The phase that the present second counts for."""
        return self._phases[-1]

    @contextmanager
    def within(self, name: str) -> Iterator[None]:
        """Count the block's seconds for a phase."""
        keeps = KEEPS.get(self.phase)
        self._charge()
        self._phases.append(self.phase if keeps is not None and name not in keeps else name)
        try:
            yield
        finally:
            self._charge()
            self._phases.pop()

    def _charge(self) -> None:
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()  # kernels that were only queued belong to the phase that queued them
        now = time.perf_counter()
        self.seconds[self.phase] += now - self._since
        self._since = now
        if (high := peak_memory()) > self._high:
            self._high = self.peaks[self.phase] = high

    def lap(self) -> dict[str, float]:
        """Seconds of reward, scoring and update since the last lap, by the names of metrics.jsonl; phases that were not are
        left out. What a rollout takes is there already (`time/generate`)."""
        self._charge()
        spent = {name: self.seconds[name] - self._lap[name] for name in ("reward", "scoring", "update")}
        self._lap = dict(self.seconds)
        return {f"time/{name}": seconds for name, seconds in spent.items() if seconds}

    def as_json(self) -> JSON:
        """What usage.json holds."""
        self._charge()
        self.peak = max(self.peak, peak_memory())
        total = sum(self.seconds.values())
        busy = {"trained_on": self.seconds["update"] + self.seconds["scoring"], "generated": self.seconds["rollout"]}
        return {
            "seconds": self.seconds,
            "total_seconds": total,
            "tokens": self.tokens,
            "tokens_per_second": {name: count / busy[name] for name, count in self.tokens.items() if count and busy[name]},
            "peak_memory_bytes": self.peak or None,
            "memory_before_bytes": self.before or None,
            "raised_memory_bytes": self.peaks,
            "memory_of": "GPU" if torch.cuda.is_available() else "process",
            "processes": self.processes,
        }


_now: ContextVar[Usage | None] = ContextVar("usage", default=None)


@contextmanager
def counting(usage: Usage) -> Iterator[Usage]:
    """Let the phases of this block count for `usage`."""
    token = _now.set(usage)
    try:
        yield usage
    finally:
        _now.reset(token)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Count the block's seconds for a phase, where somebody counts."""
    usage = _now.get()
    if usage is None:
        yield
        return
    with usage.within(name):
        yield


def counted(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`phase` for all of a function."""

    def around(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with phase(name):
                return function(*args, **kwargs)

        return run

    return around


def tokens(name: str, count: int) -> None:
    """Add to a count of tokens (`trained_on` or `generated`), where somebody counts. Evaluations are left out."""
    usage = _now.get()
    if usage is not None and usage.phase != "evaluation":
        usage.tokens[name] += count


def lap() -> dict[str, float]:
    """`Usage.lap`, where somebody counts."""
    usage = _now.get()
    return usage.lap() if usage is not None else {}


def keep(folder: Path) -> None:
    """Write usage.json into a run's folder, where somebody counts."""
    usage = _now.get()
    if usage is not None:
        write_text(folder / FILE, json.dumps(usage.as_json(), indent=2) + "\n")


def peak_memory() -> int:
    """Bytes: the most that the GPU's allocator held, else the process's largest resident size; 0 where nobody says."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:  # Linux's getrusage starts from the size of the process that started this one
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def read(folder: Path) -> JSON | None:
    """What a run's usage.json says; None where there is none or it is torn."""
    try:
        found: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
