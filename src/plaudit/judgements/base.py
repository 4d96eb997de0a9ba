"""What every kind of judgement shares: reading a form, the acts that count, the result of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plaudit.schema import JSON, Feedback, Ranking, UserError


@dataclass(frozen=True)
class Conversion:
    """Training data made from acts of feedback, and what became of every act.

    `feedback_ids` are the acts that the rows were made from, in the order given: what `Store.snapshot` wants.
    """

    rows: list[Ranking]
    feedback_ids: tuple[str, ...]
    counts: dict[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The counts for people, zeros left out."""
        return [f"{name.replace('_', ' ')}: {count}" for name, count in self.counts.items() if count]


@dataclass(frozen=True)
class Kind:
    """A kind of judgement, as the registry group `judgements` hands it out."""

    name: str
    makes: str
    """What `convert` makes: rankings, demonstrations or labels."""
    read: Callable[[Mapping[str, Any]], JSON]
    """A form as a page or a file sends it -> the judgement that is stored; UserError for a form that is wrong."""
    convert: Callable[..., Conversion]
    """(feedback, completions, prompts) -> rows."""


def only(form: Mapping[str, Any], allowed: Sequence[str], kind: str) -> None:
    """UserError when the form is no mapping or holds a field that the kind does not know."""
    if not isinstance(form, Mapping):
        raise UserError(f"a {kind} judgement is a mapping with {', '.join(allowed)}, got {type(form).__name__}")
    strange = [name for name in form if name not in allowed]
    if strange:
        raise UserError(f"a {kind} judgement has no field '{strange[0]}': use {', '.join(allowed)}")


def choice(form: Mapping[str, Any], name: str, allowed: Sequence[str], kind: str) -> str:
    """The field `name`, one of `allowed`."""
    value = form.get(name)
    if not isinstance(value, str) or value not in allowed:
        got = "nothing" if name not in form else repr(value)
        raise UserError(f"field '{name}' of a {kind} judgement must be one of {', '.join(allowed)}, got {got}")
    return value


def whole(form: Mapping[str, Any], name: str, low: int, high: int, default: int, kind: str) -> int:
    """The field `name`, a whole number within [low, high]; text digits count, since web forms send text."""
    value = form.get(name, default)
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise UserError(f"field '{name}' of a {kind} judgement must be a whole number from {low} to {high}, got {value!r}")
    return value


def identified(feedback: Iterable[Feedback]) -> dict[str, Feedback]:
    """Id -> act, each act once. An id hashes the whole act, so it is worth keeping."""
    return {act.id: act for act in feedback}


def current(acts: Mapping[str, Feedback]) -> dict[str, Feedback]:
    """Those of `acts` that no other of them supersedes."""
    replaced = {act.supersedes for act in acts.values()}
    return {identity: act for identity, act in acts.items() if identity not in replaced}
