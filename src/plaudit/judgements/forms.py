"""Reading forms: each helper takes one field, checks it, and says what is wrong in one sentence.

A form comes from a page, a client or a file, so nothing in it is trusted: not its type, not its size, not its letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from plaudit.schema import JSON, UserError, to_json

MOST_TEXT = 100_000
"""Letters of an edited answer or a free text."""
MOST_COMMENT = 10_000
MOST_NAMES = 50
"""Reasons, aspects or criteria in one judgement."""
MOST_NAME = 100
"""Letters of one of them."""


@dataclass(frozen=True, kw_only=True)
class Payload:
    """What one judgement says. Every kind adds its own fields."""

    reasons: tuple[str, ...] = ()
    """Short reasons picked from a list, such as `not factual`."""
    comment: str = ""

    def to_json(self) -> JSON:
        """The judgement as it is stored: fields at their defaults are left out."""
        plain = to_json(self)
        defaults = {one.name: one.default for one in fields(self)}
        same: dict[str, Any] = {n: list(d) if isinstance(d, tuple) else d for n, d in defaults.items()}
        return {name: value for name, value in plain.items() if value != same[name] and value != {}}


@dataclass(frozen=True)
class Written(Payload):
    """What a correction and a remark say: `text`, an answer as it should be, or free words on it."""

    text: str


def written(form: Mapping[str, Any], kind: str) -> Written:
    """A judgement that is a text. UserError where there is none."""
    only(form, ("text", "reasons", "comment"), kind)
    return Written(text=text(form, "text", kind), **remarks(form, kind))


def only(form: Mapping[str, Any], allowed: Sequence[str], kind: str) -> None:
    """UserError when the form is no mapping or holds a field that the kind does not know."""
    if not isinstance(form, Mapping):
        raise UserError(f"a {kind} judgement is a mapping with {', '.join(allowed)}, got {type(form).__name__}")
    strange = [name for name in form if name not in allowed]
    if strange:
        raise UserError(f"a {kind} judgement has no field {_shown(strange[0])}: use {', '.join(allowed)}")


def choice(form: Mapping[str, Any], name: str, allowed: Sequence[str], kind: str) -> str:
    """The field `name`, one of `allowed`."""
    value = form.get(name)
    if not isinstance(value, str) or value not in allowed:
        got = "nothing" if name not in form else _shown(value)
        raise UserError(f"field '{name}' of a {kind} judgement must be one of {', '.join(allowed)}, got {got}")
    return value


def whole(form: Mapping[str, Any], name: str, low: int, high: int, default: int | None, kind: str) -> int:
    """The field `name`, a whole number within [low, high]; text digits count, since web forms send text."""
    value = form.get(name, default)
    if isinstance(value, str) and len(value) < 20 and value.strip().isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        got = "nothing" if value is None else _shown(value)
        raise UserError(f"field '{name}' of a {kind} judgement must be a whole number from {low} to {high}, got {got}")
    return value


def text(form: Mapping[str, Any], name: str, kind: str, most: int = MOST_TEXT, *, needed: bool = True) -> str:
    """The field `name`, text of at most `most` letters that can be written as UTF-8; where `needed`, not blank."""
    value = form.get(name, "")
    if not isinstance(value, str) or (needed and not value.strip()):
        got = "nothing" if name not in form else "a blank" if isinstance(value, str) else type(value).__name__
        raise UserError(f"field '{name}' of a {kind} judgement must be text, got {got}")
    if len(value) > most:
        raise UserError(f"field '{name}' of a {kind} judgement holds at most {most:,} letters, got {len(value):,}")
    if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value):
        raise UserError(f"field '{name}' of a {kind} judgement holds letters that are no text: send UTF-8")
    return value


def names(form: Mapping[str, Any], name: str, kind: str) -> tuple[str, ...]:
    """The field `name`, a list of short texts, each once, in the order given; none where left out."""
    value = form.get(name, ())
    if not isinstance(value, list | tuple) or len(value) > MOST_NAMES:
        raise UserError(f"field '{name}' of a {kind} judgement must be a list of at most {MOST_NAMES} short texts")
    return tuple(dict.fromkeys(_name(one, name, kind) for one in value))


def table(form: Mapping[str, Any], name: str, kind: str) -> dict[str, Any]:
    """The field `name`, a mapping from short texts, sorted by them; empty where left out."""
    value = form.get(name, {})
    if not isinstance(value, Mapping) or len(value) > MOST_NAMES:
        raise UserError(f"field '{name}' of a {kind} judgement must be a mapping of at most {MOST_NAMES} names")
    return {_name(one, name, kind): value[one] for one in sorted(value, key=str)}


def remarks(form: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """`reasons` and `comment`, which every kind takes."""
    return {
        "reasons": names(form, "reasons", kind),
        "comment": text(form, "comment", kind, MOST_COMMENT, needed=False),
    }


def _name(value: Any, field: str, kind: str) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_NAME:
        raise UserError(f"field '{field}' of a {kind} judgement holds names of 1 to {MOST_NAME} letters, got {_shown(value)}")
    return text({"name": value}, "name", kind, MOST_NAME)


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:59]}…"
