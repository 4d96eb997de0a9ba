"""Files that are seen whole or not at all, and a folder that one process has at a time. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from plaudit.schema import UserError


def hold(path: Path) -> IO[str]:
    """An open file whose lock ends with the process, however it ends; UserError where another process has it."""
    file = open(path / ".lock", "w")  # noqa: SIM115  (it stays open as long as the run)
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UserError(f"another process is training in {path}; wait for it to end, or choose another folder") from None
    except (ImportError, OSError):
        pass  # Windows, or a file system without locks
    return file


def write_text(path: Path, text: str) -> None:
    """Replace a file in one move: a reader sees the old content or the new."""
    beside = path.with_name(f".{path.name}.tmp")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
