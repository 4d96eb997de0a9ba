"""Which acts of feedback in the store a stage counts. Loads no torch, so that a plan is quick."""

from __future__ import annotations

from collections.abc import Collection

from plaudit.judgements.base import annotator
from plaudit.schema import Feedback
from plaudit.store import Store

SOURCES: dict[str, tuple[str, ...]] = {
    "people": ("human", "implicit"),
    "judges": ("judge",),
    "everyone": ("human", "implicit", "judge"),
}
"""Annotators of a judge stage -> sources of the acts that count."""


def counted_acts(store: Store, sources: Collection[str], until: int | None) -> list[Feedback]:
    """The current acts of these sources, as they stood at `until`, without those of annotators who were left out."""
    out = store.left_out()
    return [act for act in store.feedback(until=until) if act.source in sources and annotator(act) not in out]
