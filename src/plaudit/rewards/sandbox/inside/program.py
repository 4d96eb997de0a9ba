"""The process of the written code: runs it, and answers what the tests ask of it. The tests are never in it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import types
from typing import Any

from plaudit.rewards.sandbox.inside.messages import OPERATIONS, Endpoint, Forbidden, Gone, reason_of, text_of

EVENTS = ("socket.", "subprocess.", "ctypes.", "os.exec", "os.spawn", "os.posix_spawn", "pty.")
NAMES = ("os.system", "os.fork", "os.forkpty", "os.kill", "os.killpg", "signal.pthread_kill")
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown")
QUIET = ("socket.gethostname", "socket.__new__")  # asyncio has a pair of its own


def watch(readable: tuple[str, ...], own: str) -> None:
    """Python's own audit events: what is forbidden raises `Forbidden`, with a sentence.

    No wall that hostile code could not climb (the kernel has those), but it names the reason, and on systems where the kernel
    offers less it is what there is.
    """

    def inside(path: Any, roots: tuple[str, ...]) -> bool:
        if not isinstance(path, str | bytes):
            return True
        full = os.path.realpath(os.fsdecode(path))
        return any(full == root or full.startswith(root + os.sep) for root in roots)

    busy = False

    def event(name: str, values: tuple[Any, ...]) -> None:
        nonlocal busy
        if busy:
            return
        busy = True
        try:
            if (name.startswith(EVENTS) and name not in QUIET) or name in NAMES:
                raise Forbidden(f"{name} is not allowed here")
            if name == "import" and values[0] in ("ctypes", "_ctypes"):
                raise Forbidden("ctypes is not allowed here")
            if name == "open":
                path, _, flags = values
                writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
                if not inside(path, (own,) if writes else (own, *readable)):
                    raise Forbidden(f"{'writing' if writes else 'reading'} {path!r} is not allowed here")
            if name in ("os.listdir", "os.scandir") and not inside(values[0] or own, (own, *readable)):
                raise Forbidden(f"reading {values[0]!r} is not allowed here")
            if name in CHANGES and not all(inside(one, (own,)) for one in values):
                raise Forbidden(f"{name} outside of the program's folder is not allowed here")
        finally:
            busy = False

    sys.addaudithook(event)


def serve(line: socket.socket, code: str, readable: tuple[str, ...], own: str) -> None:
    """Compile and run `code`, tell what came of it, then do what is asked until the line is closed. Does not return."""
    end = Endpoint(line, OPERATIONS)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for name in [name for name in sys.modules if name.startswith(("plaudit", "ctypes", "_ctypes"))]:
        del sys.modules[name]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    module = sys.modules["program"] = types.ModuleType("program")  # dataclasses look their module up
    space = vars(module)
    watch((*readable, "/dev/null", "/dev/urandom"), own)
    try:
        exec(_compiled(code), space)
        told: Any = ["loaded", [name for name in space if not name.startswith("__")]]
    except Unreadable as problem:
        told = ["failed", "syntax", str(problem)]
    except MemoryError:
        told = ["failed", "memory", "MemoryError"]
    except BaseException as error:
        told = ["failed", reason_of(error), f"{type(error).__name__}: {text_of(error)}"]
    end.operations = {**OPERATIONS, "value": lambda name: space[name], "alive": lambda: True}
    try:
        end.send(told)
        while True:
            end.serve(end.receive())
    except Gone:
        os._exit(0)


class Unreadable(Exception):
    """The code is no Python."""


def _compiled(code: str) -> Any:
    try:
        return compile(code, "program.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError) as problem:  # ValueError: null bytes
        line = getattr(problem, "lineno", None)
        raise Unreadable(f"{problem}" if line is None else f"{getattr(problem, 'msg', problem)}, line {line}") from None
