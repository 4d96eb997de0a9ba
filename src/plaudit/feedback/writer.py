"""The one writer of the store: a thread with a queue and group commit; and read-only connections for everybody else.

What `Writer.do` has returned is on the disk. All jobs that wait while the disk is busy reach it with one fsync, each of them
whole or refused by itself.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from plaudit.schema import UserError
from plaudit.store import Store, Where

Result = TypeVar("Result")
LONGEST_QUEUE = 1000
"""Jobs that may wait; more are refused, so that memory stays flat."""
LARGEST_GROUP = 200
"""Jobs that one commit takes at most, so that nobody waits for long."""


class Unavailable(UserError):
    """The store cannot be written now: the disk is full, another process has it, too much is waiting. Nothing was kept."""


@dataclass
class _Job:
    work: Callable[[Store], Any]
    alone: bool
    done: Future[Any] = field(default_factory=Future)


class Writer:
    """Opens the store in a thread of its own, and writes until `close`. Commands may write in between, one at a time."""

    def __init__(self, path: Where, wait: float = 5.0) -> None:
        """UserError where the store cannot be opened, for example because another server has it."""
        self.path, self.wait = path, wait
        self.version = 0
        """Changes when another process has written something; looked at before each commit."""
        self._queue: queue.Queue[_Job | None] = queue.Queue(LONGEST_QUEUE)
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="plaudit-writer", daemon=True)
        self._thread.start()
        opened.result()

    def do(self, work: Callable[[Store], Result], *, alone: bool = False) -> Result:
        """What `work` returns, once it is on the disk; its UserError where it was refused.

        `alone`: outside of a group, for work that must clean the log afterwards (erasure).
        """
        job = _Job(work, alone)
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            raise Unavailable("too many people are writing at this moment: try again in a few seconds") from None
        result: Result = job.done.result()
        return result

    def close(self) -> None:
        """Writes what waits, then closes the store."""
        self._queue.put(None)
        self._thread.join()

    def _run(self, opened: Future[None]) -> None:
        try:
            store = Store(self.path, wait=self.wait, shared=True)
        except BaseException as error:
            opened.set_exception(error)
            return
        self.version = store.version()
        opened.set_result(None)
        with store:
            over = False
            while not over:
                jobs, over = self._waiting()
                together = [job for job in jobs if not job.alone]
                self.version = store.version()
                if together:
                    _commit(store, together)
                for job in jobs:
                    if job.alone:
                        _settle(job, *_attempt(store, job))

    def _waiting(self) -> tuple[list[_Job], bool]:
        """The jobs that wait, at least one, and whether the end was among them."""
        jobs: list[_Job] = []
        waited = self._queue.get()
        while waited is not None:
            jobs.append(waited)
            if len(jobs) == LARGEST_GROUP or self._queue.empty():
                return jobs, False
            waited = self._queue.get()
        return jobs, True


def _commit(store: Store, jobs: list[_Job]) -> None:
    """Does the jobs in one transaction and settles each with its own outcome, or all with what kept the group off the disk."""
    outcomes = []
    try:
        with store.group():
            for job in jobs:
                outcomes.append(_attempt(store, job))
                if not store.db.in_transaction:  # a full disk undid the group
                    raise Unavailable(f"{outcomes[-1][1]}")
    except Exception as error:
        lost = error if isinstance(error, Unavailable) or not isinstance(error, UserError) else Unavailable(str(error))
        for job in jobs:
            job.done.set_exception(lost)
        return
    for job, outcome in zip(jobs, outcomes, strict=True):
        _settle(job, *outcome)


def _attempt(store: Store, job: _Job) -> tuple[Any, BaseException | None]:
    try:
        return job.work(store), None
    except Exception as error:  # it belongs to the one who asked, and must not end the writer
        return None, error


def _settle(job: _Job, result: Any, error: BaseException | None) -> None:
    if error is None:
        job.done.set_result(result)
    else:
        job.done.set_exception(error)


class Readers:
    """Read-only connections, as many as are used at the same time, used again."""

    def __init__(self, path: Where) -> None:
        self.path = path
        self._idle: queue.SimpleQueue[Store] = queue.SimpleQueue()

    @contextmanager
    def lend(self) -> Iterator[Store]:
        """A connection that sees everything committed before it was lent."""
        try:
            store = self._idle.get_nowait()
        except queue.Empty:
            store = Store(self.path, readonly=True)
        try:
            yield store
        finally:
            self._idle.put(store)

    def close(self) -> None:
        while not self._idle.empty():
            self._idle.get().close()
