"""The layouts that rows come in, by name, and which of them a file has."""

from __future__ import annotations

from collections.abc import Sequence

from plaudit import registry
from plaudit.data.layouts.base import Layout
from plaudit.schema import JSON, UserError

FIRST = 20
"""Rows of a file by which its layout is told."""


def layouts() -> list[Layout]:
    """Every layout that is installed, in the order in which they are asked."""
    return sorted((registry.find("readers", name) for name in registry.names("readers")), key=lambda x: (x.order, x.name))


def layout(name: str) -> Layout:
    """By name, or `module:attribute`. UserError that names the ones there are."""
    found = registry.find("readers", name)
    if not isinstance(found, Layout):
        raise UserError(f"dataset_format {name}: is no Layout of plaudit.data.layouts.base.")
    return found


def recognise(rows: Sequence[JSON], dataset_format: str = "auto") -> Layout:
    """The layout of these first rows: the first that knows every one of them, TRL's own types where none does."""
    if dataset_format != "auto":
        return layout(dataset_format)
    return next((one for one in layouts() if rows and all(map(one.recognises, rows))), layout("trl"))
