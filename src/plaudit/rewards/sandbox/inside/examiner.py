"""The first process behind the walls: puts them up, starts the written code's process, and runs the tests against it.

Told on standard input: JSON with the code and the limits, then JSON with the tests, which is read only when the code's
process is started already. Tells on standard output, which no other process has: a line with the walls and the
process, and one with the verdict. So a verdict cannot be printed, and an early exit is none.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import select
import signal
import socket
import sys
import time
import types
from typing import Any, NoReturn

from plaudit.rewards.sandbox.inside import program, walls
from plaudit.rewards.sandbox.inside.messages import Endpoint, Gone, Late, Remote

SHOWN = 2000
"""Characters of what a program prints that are kept."""


class Line(Endpoint):
    """The examiner's end: it looks at the clock, and takes what the program prints so that it never waits for a reader."""

    def __init__(self, line: socket.socket, printed: int, until: float) -> None:
        super().__init__(line, {"__call__": self._called})
        self.printed, self.until, self.output = printed, until, b""

    def _called(self, function: Any, *values: Any, **named: Any) -> Any:
        if not any(function is one for one in self.kept):
            raise TypeError("only functions that the tests handed over can be called")
        return function(*values, **named)

    def send(self, message: Any) -> None:
        self.line.settimeout(max(self.until - time.monotonic(), 0.001))
        super().send(message)

    def wait(self) -> None:
        while True:
            left = self.until - time.monotonic()
            if left <= 0:
                raise Late
            self.line.settimeout(left)
            watched: list[Any] = [self.line, self.printed] if self.printed >= 0 else [self.line]
            ready, _, _ = select.select(watched, [], [], left)
            if self.printed in ready:
                self.take()
            if self.line in ready:
                return

    def take(self) -> None:
        part = os.read(self.printed, 1 << 16)
        self.output = (self.output + part)[:SHOWN]
        if not part:
            self.printed = -1


def main() -> NoReturn:
    """One program, one verdict; what the process returns says nothing."""
    result, job = os.dup(1), _read_message()
    quiet = os.open(os.devnull, os.O_RDWR)
    os.dup2(quiet, 1)
    limits = job["limits"]
    up, own = walls.put_up(os.getcwd(), limits["disk"])
    os.environ["TMPDIR"] = own
    up += walls.limit(limits["seconds"], limits["memory"], limits["disk"])
    os.dup2(quiet, 2)
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _program(theirs, writing, job["code"], own, "files" in up, (0, result, reading, ours.fileno()))
    theirs.close()
    os.close(writing)
    _tell(result, {"walls": up, "process": child})
    signal.signal(signal.SIGALRM, _late)  # tests that sleep
    signal.setitimer(signal.ITIMER_REAL, limits["wall"])
    line = Line(ours, reading, time.monotonic() + limits["wall"])
    try:
        told = _verdict(line, _read_message())
    except MemoryError:
        told = {"reason": "memory", "detail": "an answer of the program is too large"}
    except Late:
        told = {"reason": "time", "detail": "no answer within the time"}
    except Gone:
        told = {"reason": "error", "detail": "the program ended before its tests did", "gone": True}
    signal.setitimer(signal.ITIMER_REAL, 0)
    told |= _ended(child, limits["seconds"]) if told.pop("gone", False) else _killed(child)
    while line.printed >= 0 and select.select([line.printed], [], [], 0)[0]:
        line.take()
    _tell(result, {**told, "output": line.output.decode("utf-8", "replace")})
    os._exit(0)


def _late(number: int, frame: Any) -> NoReturn:
    raise Late


def _program(line: socket.socket, writing: int, code: str, own: str, whole: bool, closed: tuple[int, ...]) -> NoReturn:
    """The process of the written code; leads a session of its own, so it cannot leave the group that is killed."""
    walls.leave_with_parent()
    os.setsid()
    quiet = os.open(os.devnull, os.O_RDONLY)
    for one in closed:
        os.close(one)
    os.dup2(quiet, 0)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    folders = walls.readable()
    if walls.LINUX:
        walls.confine(own, folders, whole)
    walls.alone()
    try:
        program.serve(line, code, folders, own)
    finally:
        os._exit(1)


def _verdict(line: Line, tests: dict[str, Any]) -> dict[str, Any]:
    """The code's names where the tests use them, then the tests. Passed only if all ran and the program still answers."""
    kind, *rest = line.receive()
    if kind == "failed":
        return {"reason": _reason(rest[0]), "detail": str(rest[1])}
    entry_point, space = tests["entry_point"], _given(tests["prelude"])
    try:
        tree = ast.parse(tests["tests"], "tests.py")
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} | {entry_point}
        names = [str(name) for name in rest[0] if name in used]
        # A program that defines `abs` or a helper of the task anew must not change what the tests mean by it, unless
        # nothing else is tested.
        own = [name for name in names if name == entry_point or not (name in space or hasattr(builtins, name))] or names
        space |= {name: line.ask("value", name) for name in own}
        exec(compile(tree, "tests.py", "exec", dont_inherit=True), space)
        if entry_point and "check" in space:
            space["check"](space[entry_point])
        line.ask("alive")
    except MemoryError as error:
        return {"reason": "memory", "detail": _said(error)}
    except Exception as error:
        kind = _reason(error.remote) if hasattr(error, "remote") else "wrong" if isinstance(error, AssertionError) else "error"
        return {"reason": kind, "detail": _said(error)}
    except SystemExit:
        return {"reason": "error", "detail": "the tests ended themselves"}
    return {"reason": "passed", "detail": ""}


def _given(prelude: str) -> dict[str, Any]:
    """The functions and modules that the task gives. Classes and objects are the program's, so that it can be handed them."""
    space: dict[str, Any] = {}
    try:
        exec(compile(prelude, "prelude.py", "exec", dont_inherit=True), space)
    except Exception:
        return {"__name__": "tests"}  # it builds on what the program defines, and has been run there
    kept = {name: one for name, one in space.items() if isinstance(one, types.FunctionType | types.ModuleType)}
    return {**kept, "__name__": "tests"}


def _reason(said: Any) -> str:
    """What the program's process says of its failure, where that is a failure."""
    return said if said in ("syntax", "memory", "forbidden") else "error"


def _said(error: BaseException) -> str:
    """The exception, and the line of the tests where it came up."""
    at, lines = error.__traceback__, []
    while at is not None:
        lines += [at.tb_lineno] if at.tb_frame.f_code.co_filename == "tests.py" else []
        at = at.tb_next
    text = "an object of the program" if any(type(one) is Remote for one in error.args) else str(error)
    return f"{type(error).__name__}: {text[:1000]}" + (f" (tests, line {lines[-1]})" if lines else "")


def _ended(child: int, seconds: int) -> dict[str, Any]:
    """Why a process that is gone went."""
    for _ in range(100):
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            break
        time.sleep(0.01)  # it closed the line: either it is about to end, or it talks nonsense
    else:
        return _killed(child)
    if not os.WIFSIGNALED(status):
        return {}
    number = os.WTERMSIG(status)
    if used.ru_utime + used.ru_stime >= seconds - 0.5 and number in (signal.SIGKILL, signal.SIGXCPU):
        return {"reason": "time", "detail": f"more than {seconds} s of CPU time"}
    return {"detail": f"the program was ended by signal {number}"}


def _killed(child: int) -> dict[str, Any]:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return {}


def _read_message() -> dict[str, Any]:
    """A message of standard input, twelve digits of its size before it.

    Read without a buffer, which the program's process, a copy of this one, would have too.
    """
    told: dict[str, Any] = json.loads(_read(int(_read(12))))
    return told


def _read(count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = os.read(0, count - len(found))
        if not part:
            os._exit(1)  # Plaudit is gone
        found += part
    return found


def _tell(result: int, message: dict[str, Any]) -> None:
    os.write(result, json.dumps(message).encode() + b"\n")


sys.set_int_max_str_digits(0)
