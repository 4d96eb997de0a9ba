"""Steering a run from outside: two small files in its folder. Whoever steers writes one, the run looks at it between steps.

control.json  what is wanted of it: go, pause or stop, and who wants it since when
state.json    what it says of itself: verb, process, running, paused or over, and after which step

A run needs no store and no server for it, and a server that only shows runs needs no torch.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from plaudit.schema import JSON, UserError
from plaudit.training.files import write_text

CONTROL, STATE = "control.json", "state.json"
WANTED = ("go", "pause", "stop")
RUNNING, PAUSED, OVER = "running", "paused", "over"
POLL = 0.2
"""Seconds between two looks of a run that waits."""


@dataclass(frozen=True)
class State:
    """What a run says of itself. `alive` is whether its process is there."""

    verb: str
    state: str
    step: int
    alive: bool


def steer(folder: Path, wanted: str, by: str) -> None:
    """Ask something of a run. UserError where it is not running."""
    if wanted not in WANTED:
        raise UserError(f"a run can be asked to {', '.join(WANTED)}, not to {wanted!r}")
    state = state_of(folder)
    if state is None or not state.alive or state.state == OVER:
        raise UserError(f"the run {folder.name} is not running: there is nothing to {wanted}; go on with --resume")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    write_text(folder / CONTROL, json.dumps({"wanted": wanted, "by": by, "at": at}) + "\n")


def state_of(folder: Path) -> State | None:
    """What a run says of itself; None for one that says nothing, such as an old one."""
    found = _read(folder / STATE)
    if not isinstance(found.get("step"), int) or not isinstance(found.get("pid"), int):
        return None
    state = found.get("state")
    if state not in (RUNNING, PAUSED, OVER):
        return None
    return State(str(found.get("verb", "")), state, found["step"], state != OVER and _alive(found["pid"]))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Control:
    """The run's end: says how it is, and looks at what is wanted."""

    def __init__(self, folder: Path, verb: str, wait: Callable[[float], Any] = time.sleep) -> None:
        """What was wanted of an earlier process is forgotten."""
        self.folder, self.verb, self.wait = folder, verb, wait
        (folder / CONTROL).unlink(missing_ok=True)

    def say(self, state: str, step: int) -> None:
        """Write state.json; a full disk is for others to say, who lose something by it."""
        told: JSON = {"verb": self.verb, "pid": os.getpid(), "state": state, "step": step}
        with suppress(OSError):
            write_text(self.folder / STATE, json.dumps(told) + "\n")

    def wanted(self) -> tuple[str, str]:
        """go, pause or stop, and who wants it."""
        found = _read(self.folder / CONTROL)
        wanted = found.get("wanted")
        return (wanted if wanted in WANTED else "go"), str(found.get("by", ""))

    def pause(self, over: Callable[[], bool]) -> str:
        """Wait until something else is wanted, or `over`; what is wanted then."""
        wanted = "pause"
        while wanted == "pause" and not over():
            self.wait(POLL)
            wanted, _ = self.wanted()
        return wanted


def _read(path: Path) -> JSON:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
