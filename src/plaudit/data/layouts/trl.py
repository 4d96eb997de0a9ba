"""TRL's dataset types (docs/source/dataset_formats.md there), standard or conversational: taken as they are."""

from __future__ import annotations

from plaudit.data.layouts.base import Layout, Tally
from plaudit.schema import JSON


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    return [row]


LAYOUT = Layout(
    "trl", "TRL's dataset types: text, messages, prompt with completion, chosen and rejected, label ...", bool, convert, 100
)
