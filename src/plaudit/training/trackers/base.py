"""Trackers: other places for a run's figures. metrics.jsonl is always written; a tracker that fails never stops training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from plaudit.registry import find
from plaudit.schema import JSON

Tell = Callable[[str], None]
NONE = "none"


class Tracker(Protocol):
    """One such place, made without arguments. Whatever it raises switches it off for the rest of the run."""

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """The run begins, or goes on after `step`: figures up to there were logged already. -1: from the very beginning."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """One line of metrics.jsonl. A step may have two: of training, and of an evaluation (names begin with `eval_`)."""

    def finish(self, summary: JSON) -> None:
        """The run ended, was stopped, or failed: `summary["status"]` says which."""


class Trackers:
    """The trackers of one run, each behind a guard."""

    def __init__(self, trackers: Mapping[str, Tracker], tell: Tell) -> None:
        self.trackers, self.tell = dict(trackers), tell

    def start(self, config: Mapping[str, Any], step: int) -> None:
        self._each("start", lambda tracker: tracker.start(config, step))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._each("log", lambda tracker: tracker.log(step, metrics))

    def finish(self, summary: JSON) -> None:
        self._each("finish", lambda tracker: tracker.finish(summary))

    def _each(self, what: str, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                call(tracker)
            except Exception as error:
                del self.trackers[name]
                said = " ".join(str(error).split())
                self.tell(f"tracker {name} is switched off: {what} raised {type(error).__name__}: {said}; training goes on")


def names(report_to: str | Sequence[str]) -> list[str]:
    """What `report_to` asks for: `none` is nothing, one name may stand alone."""
    asked = [report_to] if isinstance(report_to, str) else list(report_to)
    return list(dict.fromkeys(name for name in asked if name != NONE))


def trackers(report_to: str | Sequence[str], tell: Tell) -> Trackers:
    """The trackers by name, or by `module:Class`. UserError, before anything is trained, for one that is not there."""
    return Trackers({name: find("trackers", name)() for name in names(report_to)}, tell)
