"""A layout is a way to write feedback into rows that others use; its file turns each row into rows with TRL's columns.

A plug-in brings its own by an entry point of the group `plaudit.readers` that names a `Layout`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from plaudit.schema import JSON, UserError

Wants = Literal["demonstrations", "rankings", "labels", "aspects", "prompts", "steps", "texts"]
"""What rows are read as; an algorithm's `eats` says which one it needs."""
Tally = Counter[str]
"""What was left out or changed on the way, in words, with its count."""
Located = tuple[str, JSON]
"""Where ("pairs.jsonl, line 3") and the row."""
Convert = Callable[[JSON, str, str, Tally], Sequence[JSON]]


@dataclass(frozen=True)
class Layout:
    """One layout.

    name        what `dataset_format` calls it
    about       one line for people
    recognises  whether a row (its nulls already dropped) is one of this layout; asked of the first rows of a file
    convert     (row, where, wants, tally) -> rows with TRL's columns, none where the row holds nothing of the wanted kind
    gather      where one thing is spread over rows: all rows of a file -> rows that hold the whole of it; not while streaming
    order       layouts with a lower number are asked first; TRL's own types, which everything may look like, have 100
    """

    name: str
    about: str
    recognises: Callable[[JSON], bool]
    convert: Convert
    order: int = 50
    gather: Callable[[Iterator[Located]], Iterator[Located]] | None = None


def turn(value: Any, where: str, *, role: str, content: str, roles: Mapping[str, str]) -> JSON:
    """A turn under other keys and role names as TRL's message. UserError for a role that `roles` does not have."""
    if not isinstance(value, Mapping) or value.get(role) is None or value.get(content) is None:
        there = ", ".join(value) if isinstance(value, Mapping) else "no object"
        raise UserError(f"{where} must be an object with {role} and {content} (it has: {there or 'nothing'}).")
    name = value[role]
    if name not in roles:
        raise UserError(f"{where} has the unknown role {name!r}; the roles are {', '.join(dict.fromkeys(roles))}.")
    others = {key: item for key, item in value.items() if key not in (role, content)}
    return {**others, "role": roles[name], "content": value[content]}


def others(row: Mapping[str, Any], *used: str) -> JSON:
    """The columns that are not `used`: they stay with the row."""
    return {column: value for column, value in row.items() if column not in used}


def is_list_of(value: Any, *keys: str) -> bool:
    """True for a list that is not empty, of objects of which the first has all of `keys`."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping) and set(keys) <= set(value[0])
