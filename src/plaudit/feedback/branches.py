"""Branches of runs that were begun from the pages: each a process of its own, which goes on when the server ends."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plaudit.schema import UserError

OPTION = re.compile(r"[a-z][a-z0-9_]{0,60}")
VALUE = re.compile(r"-?\d{1,18}(\.\d{1,18})?(e-?\d{1,3})?|true|false|null")
NOT_HERE = frozenset({"trust_remote_code"})
"""Switches that let foreign code run."""
CHECKPOINT = re.compile(r"checkpoint-(\d{1,12})")
MOST = 1000


@dataclass(frozen=True)
class Branch:
    """One that this server began. `problem` is what a process that failed said last."""

    name: str
    run: str
    step: int
    going: bool
    problem: str = ""


def checkpoints(run: Path) -> list[int]:
    """The steps that a run can be branched from, the newest first."""
    found = (CHECKPOINT.fullmatch(path.name) for path in run.iterdir())
    return sorted((int(match[1]) for match in found if match), reverse=True)


def options_of(text: str) -> dict[str, str]:
    """`KEY=VALUE` a line. UserError for anything else."""
    found = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, equals, value = line.partition("=")
        if not equals:
            raise UserError(f"{line[:60]!r} is no option: write NAME=VALUE, one a line")
        found[name.strip()] = value.strip()
    return found


class Branches:
    """Begins branches beside the runs that they come from, and knows how they fare."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs.resolve()
        self._begun: list[tuple[Branch, subprocess.Popen[bytes], Path]] = []
        self._lock = threading.Lock()

    def begin(self, name: str, step: int, options: Mapping[str, str]) -> str:
        """Start training from a checkpoint of the run `name`; returns the new run's name.

        UserError: no such checkpoint, or an option that is no number or switch. What names files or code is only changed by
        who sits at the machine (`plaudit branch`), since it could run anything.
        """
        run = self.runs / name
        if step not in checkpoints(run):
            raise UserError(f"the run {name} has no checkpoint {step}: choose one of those listed")
        for option, value in options.items():
            if option in NOT_HERE or not OPTION.fullmatch(option) or not VALUE.fullmatch(value):
                raise UserError(
                    f"{option[:60]}={value[:60]} cannot be set here: numbers, true, false and null can, foreign code cannot"
                )
        with self._lock:
            places = (run.with_name(f"{run.name}-from-{step}{f'-{n}' if n else ''}") for n in range(MOST))
            taken = {self.runs / one.name for one, _, _ in self._begun}
            target = next((one for one in places if one not in taken and not one.exists()), None)
            if target is None:
                raise UserError(f"there are {MOST} branches of this checkpoint already: remove some")
            log = target.with_name(f".{target.name}.log")
            words = [sys.executable, "-m", "plaudit", "branch", str(run), str(step), "--to", str(target)]
            words += [f"{option}={value}" for option, value in options.items()]
            with open(log, "wb") as said:  # in a session of its own: Ctrl-C ends the server and no training
                process = subprocess.Popen(
                    words, cwd=self.runs.parent, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
                )
            begun = Branch(target.relative_to(self.runs).as_posix(), name, step, True)
            self._begun.append((begun, process, log))
        return begun.name

    def list(self) -> list[Branch]:
        """Those that this server began, the newest first."""
        with self._lock:
            begun = list(reversed(self._begun))
        return [Branch(one.name, one.run, one.step, process.poll() is None, _said(process, log)) for one, process, log in begun]


def _said(process: subprocess.Popen[bytes], log: Path) -> str:
    """The last line of a process that failed; '' for others."""
    if process.poll() in (None, 0, 143):
        return ""
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1].removeprefix("plaudit: ")[:500] if lines else f"it ended with code {process.returncode}"
