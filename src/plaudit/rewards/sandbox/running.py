"""Programs run against their tests, each in processes of its own behind walls (docs/evaluate.md says what they hold back)."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt

from plaudit.config import config
from plaudit.schema import JSON, UserError

REASONS = ("passed", "wrong", "error", "syntax", "time", "memory", "forbidden")
"""What can come of a program: all tests held; one did not; it raised, ended early or lacked something; it is no Python; it took
too long, or too much memory; it did what is forbidden."""
DISK = 32 << 20
"""Bytes that a program may write."""
START = (
    "import sys; sys.path.append({root!r}); from plaudit.rewards.sandbox.inside import examiner; "
    "sys.path.remove({root!r}); examiner.main()"
)


@config
class SandboxConfig:
    """Whether code that a model wrote may be run here, and within which limits."""

    allow_code_execution: bool = False
    """Run code that the model wrote, in the sandbox. Read in docs/evaluate.md what it holds back and what not."""
    code_timeout: Annotated[float, Gt(0)] = 5.0
    """CPU seconds of a program with its tests; it may take twice as long by the clock."""
    code_memory: Annotated[int, Ge(64)] = 512
    """MiB of address space of a program; Python itself needs some 40 of them."""


@dataclass(frozen=True)
class Exam:
    """A program and its tests. `entry_point` is what HumanEval's `check` is called with; "" where there is none.

    Exam("def double(x): return 2 * x", "assert double(4) == 8")
    """

    code: str
    tests: str
    entry_point: str = ""
    prelude: str = ""
    """What the task gives to both sides: imports and helpers. The tests use their own, not what the program makes of them."""


@dataclass(frozen=True)
class Verdict:
    """What came of a program: one of REASONS, a sentence where it did not pass, and the beginning of what it printed."""

    reason: str
    detail: str = ""
    output: str = ""
    walls: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return self.reason == "passed"


def permitted(options: SandboxConfig, what: str, how: str = "allow_code_execution=true") -> None:
    """UserError where running written code was not asked for, or cannot be walled in here."""
    if not options.allow_code_execution:
        raise UserError(
            f"{what} runs code that a model wrote; set {how} once you have read in docs/evaluate.md what the sandbox holds back"
        )
    if os.name != "posix":
        raise UserError(f"{what} runs code that a model wrote, and its sandbox needs Linux or macOS")


def examined(
    exams: Sequence[Exam], options: SandboxConfig, told: Callable[[int, int], None] = lambda done, total: None
) -> list[Verdict]:
    """A verdict for each, in order; as many at a time as there are CPUs. UserError without leave to run code."""
    permitted(options, "this")
    found = []
    with ThreadPoolExecutor(max(1, min(len(exams), len(_cpus())))) as pool:
        for verdict in pool.map(lambda exam: _examined(exam, options), exams):
            found.append(verdict)
            told(len(found), len(exams))
    return found


def _cpus() -> Sequence[int]:
    return list(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _examined(exam: Exam, options: SandboxConfig) -> Verdict:
    """One program in a folder that is made for it and goes with it."""
    wall = 2 * options.code_timeout
    seconds = max(1, math.ceil(options.code_timeout))
    limits = {"seconds": seconds, "wall": wall, "memory": options.code_memory << 20, "disk": DISK}
    tests = {"tests": exam.tests, "entry_point": exam.entry_point, "prelude": exam.prelude}
    job = _message({"code": exam.code, "limits": limits}) + _message(tests)
    start = START.format(root=str(Path(__file__).parents[3]))
    folder = tempfile.mkdtemp(prefix="plaudit-code-")
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", start],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=folder, env={}, start_new_session=True,
        )  # fmt: skip
        try:
            said, complaint = child.communicate(job, timeout=wall + 60)  # the inside ends itself; this is for when it cannot
            late = False
        except subprocess.TimeoutExpired:
            late = True
            os.killpg(child.pid, signal.SIGKILL)
            said, complaint = child.communicate()
        return _verdict(said, complaint, child.returncode, late)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _message(what: JSON) -> bytes:
    data = json.dumps(what).encode()
    return b"%12d" % len(data) + data


def _verdict(said: bytes, complaint: bytes, code: int, late: bool) -> Verdict:
    if not said:
        raise UserError(
            f"the sandbox did not start: {complaint.decode('utf-8', 'replace').strip()[-500:] or f'exit code {code}'}"
        )
    lines = said.splitlines()
    begun = json.loads(lines[0])
    walls = tuple(begun["walls"])
    if len(lines) == 2:
        told = json.loads(lines[1])
        return Verdict(told["reason"], _plain(told["detail"]), _plain(told["output"]), walls)
    with contextlib.suppress(ProcessLookupError):  # the written code's own session, where the examiner could not end it
        os.killpg(begun["process"], signal.SIGKILL)
    if late or -code in (signal.SIGKILL, signal.SIGXCPU):
        return Verdict("time", "the tests came to no end", "", walls)
    return Verdict("error", f"the tests ended without a verdict (exit code {code})", "", walls)


def _plain(text: str) -> str:
    """Text that can be written as UTF-8."""
    return text.encode("utf-8", "replace").decode()


MISSING: dict[str, str] = {
    "files": "it can read, and where Python does not notice change, the files that you can",
    "network": "it can reach the network",
    "processes": "it can signal your other processes",
    "memory": "its memory has no limit",
    "disk": f"its files have no limit together (each has {DISK >> 20} MiB)",
    "user": "it runs as root, whom the limit on processes does not hold",
}
"""What a program can do where a wall is not there."""


def lacking(walls: Sequence[str]) -> list[str]:
    """What a program was not held back from behind these walls, in words."""
    words = {**MISSING, "network": "it can reach the network, though not over TCP"} if "TCP" in walls else MISSING
    return [sentence for wall, sentence in words.items() if wall not in walls]


@cache
def walls_here() -> tuple[str, ...]:
    """The walls that this machine puts up; found by running an empty program."""
    return _examined(Exam("", ""), SandboxConfig(allow_code_execution=True)).walls


def warning() -> str:
    """A sentence on the walls that are not there; "" where all are."""
    found = lacking(walls_here())
    return f"written code runs with fewer walls than it should on this machine: {'; '.join(found)}" if found else ""
