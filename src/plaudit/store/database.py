"""An open database file: its lock, its transactions, its reads."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from plaudit.schema import UserError
from plaudit.store import connection


class Missing(UserError):
    """Something was named by an id that nothing has."""


class Database:
    """One open SQLite file; a context manager. Made and migrated on opening.

    One process writes at a time; any number may read (`readonly=True`). A command holds the file from opening to closing. A
    server (`shared=True`) holds it for one transaction at a time, so that commands write beside it; of servers there is one.
    Who comes second waits `wait` seconds, then gets a UserError. A damaged, foreign or empty file is a UserError and is left
    as it is. Every write is one transaction and on the disk when the call returns (synchronous=FULL).
    """

    def __init__(self, path: str | Path, *, readonly: bool = False, wait: float = 5.0, shared: bool = False) -> None:
        self.path = Path(path)
        self.readonly, self.shared, self.wait = readonly, shared, wait
        self._lock = connection.Lock(Path(f"{self.path}.lock"), "writing to it")
        self._serving = connection.Lock(Path(f"{self.path}.serving"), "serving it")
        with connection.explained(self.path):
            try:
                if not readonly:
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    if shared:
                        self._serving.take(wait)
                    self._lock.take(wait)
                self.db: sqlite3.Connection = connection.connect(self.path, readonly=readonly, wait=wait)
            except BaseException:
                self._unlock()
                raise
            if shared:
                self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and lets the next writer in. Closing twice is allowed."""
        with contextlib.suppress(UserError):  # whoever has the lock has the file open too, and so this close writes nothing
            if self.shared:
                self._lock.take(self.wait)
        self.db.close()
        self._unlock()

    def _unlock(self) -> None:
        self._lock.close()
        self._serving.close()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The lock for one block, where it is not held anyway."""
        if self.shared:
            self._lock.take(self.wait)
        try:
            yield
        finally:
            if self.shared:
                self._lock.release()

    def version(self) -> int:
        """A number that changes when another connection than this one has written."""
        found: int = self._read("PRAGMA data_version")[0][0]
        return found

    @contextlib.contextmanager
    def group(self) -> Iterator[None]:
        """Several writes that reach the disk together at the end of the block, or none of them: one wait for all.

        Each write inside is still whole or undone by itself, so one that is refused takes no other with it.
        IMMEDIATE, since a read that turns into a write would not wait for its turn.
        """
        with connection.explained(self.path), self._turn():
            self.db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.db.execute("COMMIT")
            except BaseException:
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Several writes of which all are kept or none, also within a `group`."""
        with self._transaction():
            yield

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All of the block or nothing of it; within a `group` it is undone by itself and reaches the disk with the group."""
        if not self.db.in_transaction:
            with self.group():
                yield self.db
            return
        with connection.explained(self.path):
            self.db.execute("SAVEPOINT write")
            try:
                yield self.db
                self.db.execute("RELEASE write")
            except BaseException:
                if self.db.in_transaction:  # a full disk undoes the whole group
                    self.db.execute("ROLLBACK TO write")
                    self.db.execute("RELEASE write")
                raise

    def _read(self, query: str, *values: Any) -> list[Any]:
        with connection.explained(self.path):
            return self.db.execute(query, values).fetchall()

    def _known(self, table: str, ids: Iterable[str], what: str, advice: str, column: str = "id") -> list[str]:
        """`ids` as a list, each of which must be in `table`; else a UserError that names the first one missing."""
        wanted = list(ids)
        query = f"SELECT {column} FROM {table} WHERE {column} IN (SELECT value FROM json_each(?))"
        found = {row[0] for row in self._read(query, json.dumps(wanted))}
        missing = [one for one in wanted if one not in found]
        if missing:
            rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise Missing(f"store {self.path}: there is no {what} {missing[0]}{rest}: {advice}")
        return wanted

    def _in_order(self, ids: Sequence[str] | None, rows: Sequence[tuple[str, Any]]) -> list[Any]:
        """The values of `rows` (id, value): in the order of `ids` where given, else as they are."""
        if ids is None:
            return [value for _, value in rows]
        found = dict(rows)
        return [found[one] for one in ids if one in found]
