"""Where a run's learner and engine live. `local` is this process; clusters come with their own file."""

from __future__ import annotations

from plaudit.schema import UserError

PLACES = ("local",)


def check(name: str) -> None:
    """UserError for a place that does not exist (yet)."""
    if name not in PLACES:
        raise UserError(f"place {name!r} is not there; it can be {', '.join(PLACES)}")
