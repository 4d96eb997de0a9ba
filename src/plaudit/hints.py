"""Does a value fit a type hint, and how to say in words what would fit: the part of config.py that walks types."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at


class Misfit(Exception):
    """`value` is not what the hint asks for; `wanted` says it in words."""

    def __init__(self, value: Any, wanted: str) -> None:
        super().__init__(f"wanted {wanted}, not {value!r}")
        self.value = value
        self.wanted = wanted


def fit(hint: Any, value: Any) -> Any:
    """`value` as `hint` wants it, or Misfit.

    Nothing is guessed: true and false alone are booleans, text is never a number. What is exact is done: 1 becomes 1.0 for a
    float, 1e3 becomes 1000 for an int, a list becomes a tuple, text a Path. Numbers are finite.
    """
    origin, args = get_origin(hint), get_args(hint)
    try:
        if origin is Annotated:
            return _bounded(fit(args[0], value), args[1:])
        if origin in (Union, types.UnionType):
            return _first(args, value)
        if origin is Literal:
            return next(choice for choice in args if choice == value and type(choice) is type(value))
        if origin in (list, tuple, Sequence):
            return _items(origin, args, value)
        if origin in (dict, Mapping):
            if not isinstance(value, Mapping):
                raise TypeError
            return {fit(args[0], key): fit(args[1], entry) for key, entry in value.items()}
        return _scalar(hint, value)
    except (TypeError, ValueError, OverflowError, StopIteration, Misfit):
        raise Misfit(value, words(hint)) from None


def words(hint: Any) -> str:
    """What fits, in words: `a number, 0 or more`; `one of k1, k2, k3`; `a list of text`; `an integer or null`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return words(args[0]) + "".join(f", {bound}" for bound in map(_bound_words, args[1:]) if bound)
    if origin in (Union, types.UnionType):
        return " or ".join(words(part) for part in args)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}" if len(args) > 1 else str(args[0])
    if origin in (list, tuple, Sequence):
        if origin is tuple and args[-1] is not ...:
            return f"a list of {len(args)}: {'; '.join(map(words, args))}"
        return f"a list, each {words(args[0])}"
    if origin in (dict, Mapping):
        return f"a mapping, each value {words(args[1])}"
    named = {bool: "true or false", int: "an integer", float: "a number", str: "text", Path: "a path"}
    named |= {type(None): "null", dict: "a mapping", list: "a list", Any: "anything"}
    return named.get(hint, getattr(hint, "__name__", str(hint)))


def plain(value: Any) -> Any:
    """`value` in JSON's types: tuples and sets become lists, paths become text."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(map(plain, value))
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _scalar(kind: Any, value: Any) -> Any:
    if kind is Any:
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int and number and value == int(value):
        return int(value)
    if kind is float and number:
        return float(value)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind in (int, float) or not isinstance(value, kind):
        raise TypeError
    return value


def _first(kinds: Sequence[Any], value: Any) -> Any:
    """The first member of a union that fits and keeps the value's type; else the first that fits."""
    fitted = []
    for kind in kinds:
        try:
            fitted.append(fit(kind, value))
        except Misfit:
            continue
    return next(iter([one for one in fitted if type(one) is type(value)] or fitted))


def _items(origin: Any, args: Sequence[Any], value: Any) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError
    if origin is tuple and args[-1] is not ...:
        return tuple(fit(kind, entry) for kind, entry in zip(args, value, strict=True))
    return (tuple if origin is tuple else list)(fit(args[0], entry) for entry in value)


def _bounded(value: Any, bounds: Sequence[Any]) -> Any:
    for bound in bounds:
        if value is None:
            continue
        match bound:
            case at.Ge(ge=low) if not value >= low:
                raise ValueError
            case at.Gt(gt=low) if not value > low:
                raise ValueError
            case at.Le(le=high) if not value <= high:
                raise ValueError
            case at.Lt(lt=high) if not value < high:
                raise ValueError
            case at.MinLen(min_length=least) if len(value) < least:
                raise ValueError
            case at.Interval() | at.Len():
                _bounded(value, list(bound))
    return value


def _bound_words(bound: Any) -> str:
    match bound:
        case at.Ge(ge=low):
            return f"{low} or more"
        case at.Gt(gt=low):
            return f"more than {low}"
        case at.Le(le=high):
            return f"{high} or less"
        case at.Lt(lt=high):
            return f"less than {high}"
        case at.MinLen(min_length=least):
            return f"at least {least} long"
        case at.Interval() | at.Len():
            return ", ".join(filter(None, map(_bound_words, bound)))
    return ""
