"""A warm process that has imported everything and forks a child for each command line: a fresh process in milliseconds.

The child runs `plaudit WORDS` as the shell would. It can be made to signal itself at the n-th file operation whose path holds
a given text (Python tells of each before it happens), or be killed from outside after some seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate"}


@dataclass(frozen=True)
class At:
    """The `nth` file operation (from 1) on a path that holds `text`."""

    text: str
    nth: int = 1
    signal: int = signal.SIGKILL
    times: int = 1
    """At so many such operations, one after the other."""


@dataclass(frozen=True)
class Done:
    """How a command ended: the exit code (minus the signal where one ended it), and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one sentence of exit code 2."""
        assert self.code == 2, f"exit code {self.code}\n{self.err}"
        assert "Traceback" not in self.err and self.err.count("plaudit: ") == 1, self.err
        last = self.err.strip().splitlines()[-1]
        assert last.startswith("plaudit: "), self.err
        return last.removeprefix("plaudit: ")


class Nursery:
    """The parent's end of the pipe."""

    def __enter__(self) -> Nursery:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, bufsize=1
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def run(self, *words: object, cwd: Path | None = None, at: At | None = None, after: float | None = None) -> Done:
        """Run `plaudit WORDS`; `after` so many seconds it is killed from outside."""
        assert self.process.stdin is not None and self.process.stdout is not None
        asked = {"words": [*map(str, words)], "cwd": str(cwd or os.getcwd()), "at": at and asdict(at), "after": after}
        self.process.stdin.write(json.dumps(asked) + "\n")
        return Done(**json.loads(self.process.stdout.readline()))


def strike(at: At) -> None:
    """From now on, signal this process where `at` says."""
    seen = 0

    def watch(event: str, details: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in OPERATIONS and any(isinstance(path, str | os.PathLike) and at.text in str(path) for path in details[:2]):
            seen += 1
            if at.nth <= seen < at.nth + at.times:
                os.kill(os.getpid(), at.signal)

    sys.addaudithook(watch)


def child(words: Sequence[str], cwd: str, at: At | None, out: str, err: str) -> None:
    """Become the command."""
    for number, path in enumerate((os.devnull, out, err)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.chdir(cwd)
    if at is not None:
        strike(at)
    from plaudit.cli.main import main

    main(list(words))


def forked(asked: dict[str, Any], folder: Path) -> Done:
    """Fork, run, wait."""
    out, err = folder / "out", folder / "err"
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(asked["words"], asked["cwd"], At(**asked["at"]) if asked["at"] else None, str(out), str(err))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    if asked["after"] is not None:
        time.sleep(asked["after"])  # the random moment itself, not a wait for something
        os.kill(pid, signal.SIGKILL)  # a child that has ended is still there to be waited for
    status = os.waitpid(pid, 0)[1]
    return Done(os.waitstatus_to_exitcode(status), out.read_text(), err.read_text())


def serve() -> None:
    """Import everything heavy, compute nothing (a fork may not inherit threads), then fork for each line."""
    import transformers.models.llama.modeling_llama  # noqa: F401

    import plaudit.cli.main
    import plaudit.training.run  # noqa: F401

    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            print(json.dumps(asdict(forked(json.loads(line), Path(folder)))), flush=True)


if __name__ == "__main__":
    serve()
