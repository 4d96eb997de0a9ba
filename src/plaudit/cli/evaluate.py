"""`plaudit evaluate MODEL`: answers to held-out prompts, in figures."""

from __future__ import annotations

from typing import Annotated

import typer


def evaluate(model: Annotated[str, typer.Argument()]) -> None:
    """Placeholder."""
