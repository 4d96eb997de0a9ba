"""An open database file: its lock, its transactions, its reads."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from plaudit.schema import UserError
from plaudit.store import connection, postgres

Where = Path | str
"""Where a store is: a file, or the URL of a PostgreSQL database."""


def located(text: str, folder: Path) -> Where:
    """What a project in `folder` calls its store."""
    return text if postgres.is_url(text) else folder / text


def named(where: Where) -> str:
    """How a store is called in messages: never with a password."""
    return postgres.shown(str(where)) if postgres.is_url(where) else str(where)


class Missing(UserError):
    """Something was named by an id that nothing has."""


class Database:
    """One open SQLite file, or a database of a PostgreSQL server by URL; a context manager. Made and migrated on opening.

    One process writes at a time; any number may read (`readonly=True`). A command holds the file from opening to closing. A
    server (`shared=True`) holds it for one transaction at a time, so that commands write beside it; of servers there is one.
    Who comes second waits `wait` seconds, then gets a UserError. A damaged, foreign or empty file is a UserError and is left
    as it is. Every write is one transaction and on the disk when the call returns (synchronous=FULL).
    """

    def __init__(self, path: str | Path, *, readonly: bool = False, wait: float = 5.0, shared: bool = False) -> None:
        self.readonly, self.shared, self.wait = readonly, shared, wait
        self._own = 0
        if postgres.is_url(path):
            self._on_server(str(path))
        else:
            self._on_file(Path(path))

    def _on_file(self, path: Path) -> None:
        self.path: Path | str = path
        self._lock: connection.Lock | postgres.Lock = connection.Lock(Path(f"{path}.lock"), "writing to it")
        self._serving: connection.Lock | postgres.Lock = connection.Lock(Path(f"{path}.serving"), "serving it")
        with connection.explained(path):
            try:
                if not self.readonly:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self._take()
                self.db: Any = connection.connect(path, readonly=self.readonly, wait=self.wait)
            except BaseException:
                self._unlock()
                raise
            if self.shared:
                self._lock.release()

    def _on_server(self, url: str) -> None:
        self.path = postgres.shown(url)
        self.db = postgres.Connection(url, readonly=self.readonly)
        self._lock = postgres.Lock(self.db, postgres.WRITING, "writing to it")
        self._serving = postgres.Lock(self.db, postgres.SERVING, "serving it")
        try:
            if not self.readonly:
                self._take()
            connection.upgrade(self.db, self.path, self.readonly)
            if self.shared:
                self._lock.release()
        except BaseException:
            self.db.close()
            raise

    def _take(self) -> None:
        if self.shared:
            self._serving.take(self.wait)
        self._lock.take(self.wait)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file and lets the next writer in. Closing twice is allowed."""
        with contextlib.suppress(UserError):  # whoever has the lock has the file open too, and so this close writes nothing
            if self.shared and isinstance(self._lock, connection.Lock):
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
        if isinstance(self.db, postgres.Connection):
            return int(self._read("SELECT count FROM writes")[0][0]) - self._own
        return int(self._read("PRAGMA data_version")[0][0])

    def _scrub(self) -> None:
        """After an erasure: what still holds the texts, such as SQLite's log."""
        with self._turn():
            if isinstance(self.db, postgres.Connection):
                self.db.scrub()
            else:
                self._read("PRAGMA wal_checkpoint(TRUNCATE)")

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
                if isinstance(self.db, postgres.Connection):  # SQLite counts by itself
                    self.db.execute("UPDATE writes SET count = count + 1")
                self.db.execute("COMMIT")
                self._own += 1
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
    def _transaction(self) -> Iterator[Any]:
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
