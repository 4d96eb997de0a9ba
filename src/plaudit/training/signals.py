"""SIGTERM and Ctrl-C while a run is going on."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def stopping_signals(stop: Callable[[int], None]) -> Iterator[None]:
    """`stop` is told the number of a signal that asks the process to end; before and after, signals do what they did."""

    def heard(number: int, frame: FrameType | None) -> None:
        stop(number)

    before: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                before[number] = signal.signal(number, heard)
            except ValueError:  # not the main thread: whoever owns the process handles signals
                break
        yield
    finally:
        for taken, handler in before.items():
            signal.signal(taken, handler)
