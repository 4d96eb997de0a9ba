"""Opening the database file: one writer at a time, nothing silently recreated, SQLite's errors in plain words.

The writer holds a lock file while it writes: a command for as long as it has the store open, a server for one transaction at a
time, so that commands find their turn. Readers are opened read-only and need no lock. So no two connections ever write or
checkpoint at the same time, which also keeps clear of SQLite's WAL-reset bug (3.7.0 to 3.51.2).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import IO, Any
from urllib.parse import quote

from plaudit.schema import UserError
from plaudit.store.migrations import MIGRATIONS, Migration, applied, migrate, pending

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows: SQLite's own lock and its busy timeout must do
    fcntl = None

APPLICATION = 0x506C6475  # "Pldu": tells our databases from other SQLite files


@contextlib.contextmanager
def explained(path: Path | str) -> Iterator[None]:
    """Turns what the disk, the file or another process did into a UserError; programming errors pass through."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", None) or ""
        if code.startswith("SQLITE_FULL"):
            text = "the disk is full: this write was undone and all before it is kept; free some space and try again"
        elif code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            text = "another process is writing to it: wait until it has ended, or stop it"
        elif code.startswith("SQLITE_READONLY"):
            text = "it is open for reading only: check the permissions of the file and its folder"
        elif code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            text = "the file is damaged or no database; nothing was changed: move it away and put a backup in its place"
        elif code.startswith(("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_PERM", "SQLITE_AUTH")):
            text = f"it cannot be read or written ({error}): check the disk and the permissions of the folder"
        else:
            raise
        raise UserError(f"store {path}: {text}") from error
    except OSError as error:
        raise UserError(
            f"store {path}: it cannot be opened ({error.strerror or error}): choose a folder that you can write to"
        ) from error


class Lock:
    """A lock file beside a database; it ends with the process, however that ends. Without `fcntl` SQLite's own lock must do."""

    def __init__(self, path: Path, doing: str) -> None:
        """`path` is that of the lock file's database with an ending; `doing` says in a refusal what its holder does."""
        self.path, self.doing = path, doing
        self._file: IO[str] | None = None

    def take(self, wait: float) -> None:
        """Hold the lock until `release`; UserError where another has it still after `wait` seconds."""
        if fcntl is None:
            return
        if self._file is None:
            self._file = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115 - open until `close`
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    self._file.seek(0)
                    owner = self._file.read().strip() or "unknown"
                    store = self.path.with_suffix("")
                    raise UserError(
                        f"store {store}: process {owner} is {self.doing}: wait until it has ended, or stop it"
                    ) from None
                time.sleep(0.005)
        self._file.truncate(0)
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Let the next one in."""
        if fcntl is not None and self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let go for good. Closing twice is allowed."""
        if self._file is not None:
            self._file.close()
            self._file = None


def create(path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Makes a new database beside `path`, whole and on the disk, and renames it: a half-made one is never seen."""
    fresh = path.with_name(path.name + ".new")
    for suffix in ("", "-wal", "-shm", "-journal"):
        Path(f"{fresh}{suffix}").unlink(missing_ok=True)
    db = sqlite3.connect(fresh, isolation_level=None)
    try:
        db.execute(f"PRAGMA application_id = {APPLICATION}")
        migrate(db, migrations)
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()
    os.replace(fresh, path)
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)


def connect(path: Path, *, readonly: bool, wait: float) -> sqlite3.Connection:
    """A checked connection in autocommit mode with the latest schema. A writer holds the lock before it calls this."""
    if not path.exists():
        if readonly:
            raise UserError(f"store {path}: there is no such file; a command that writes makes it")
        wal = Path(f"{path}-wal")
        if wal.exists() and wal.stat().st_size:
            raise UserError(
                f"store {path}: the file is gone but {wal.name} is still there: put the file back, or move both away"
            )
        create(path)
    if path.stat().st_size == 0:
        raise UserError(f"store {path}: the file is empty: put a backup in its place, or remove it to begin anew")
    mode = "ro" if readonly else "rw"
    where = f"file:{quote(str(path.absolute()))}?mode={mode}"
    # A reader may go from thread to thread, as long as one has it at a time; a writer stays where it was opened.
    db = sqlite3.connect(where, uri=True, isolation_level=None, timeout=wait, check_same_thread=not readonly)
    try:
        _prepare(db, path, readonly)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path, readonly: bool) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
        raise UserError(f"store {path}: this is an SQLite database, but not one of plaudit: choose another file")
    fault = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if fault != "ok":
        fault = " ".join(fault.split())
        raise UserError(
            f"store {path}: the file is damaged ({fault}); nothing was changed: move it away and put a backup in its place"
        )
    for pragma in ("foreign_keys = ON", "synchronous = FULL", "secure_delete = ON", "recursive_triggers = ON"):
        db.execute(f"PRAGMA {pragma}")
    upgrade(db, path, readonly)


def upgrade(db: Any, path: Path | str, readonly: bool) -> None:
    """Brings the schema up to date. UserError where that needs writing, or where it is of a newer plaudit."""
    try:
        todo = pending(db)
        if todo and readonly:
            raise UserError(f"it stands at step {len(applied(db))} of its schema: open it once for writing, which upgrades it")
        migrate(db)
    except UserError as error:
        raise UserError(f"store {path}: {error}") from None
