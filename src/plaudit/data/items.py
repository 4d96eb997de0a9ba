"""What a row with TRL's columns is, what it can be read as, and the item of the schema that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from plaudit import registry
from plaudit.data import columns, judged
from plaudit.data.layouts.base import Tally, Wants
from plaudit.schema import JSON, Demonstration, Label, Prompt, Ranking, Steps, UserError

Item = Prompt | Demonstration | Ranking | Label | Steps


@dataclass(frozen=True)
class Kind:
    """A type of dataset: its name, the columns that make it one, and what it can be read as, the natural way first."""

    name: str
    columns: tuple[str, ...]
    serves: tuple[Wants, ...]


KINDS = (
    Kind("ranking", ("prompt", "answers"), ("rankings", "demonstrations", "prompts")),
    Kind("ranking", ("prompt", "completions", "ranks"), ("rankings", "demonstrations", "prompts")),
    Kind("ranking", ("prompt", "completions", "scores"), ("rankings", "demonstrations", "prompts")),
    Kind("preference", ("prompt", "chosen", "rejected"), ("rankings", "labels", "demonstrations", "prompts")),
    Kind("preference with implicit prompt", ("chosen", "rejected"), ("rankings", "labels", "demonstrations", "prompts")),
    Kind("stepwise supervision", ("prompt", "completions", "labels"), ("steps", "prompts")),
    Kind("unpaired preference", ("prompt", "completion", "label"), ("labels", "demonstrations", "prompts")),
    Kind("rated answers", ("prompt", "completion", "rating"), ("labels", "demonstrations", "prompts")),
    Kind("rated answers", ("prompt", "completion", "score"), ("labels", "demonstrations", "prompts")),
    Kind("answers rated by aspect", ("prompt", "completion", "scores"), ("aspects", "demonstrations", "prompts")),
    Kind("prompt-completion", ("prompt", "completion"), ("demonstrations", "prompts")),
    Kind("conversation", ("messages",), ("demonstrations", "prompts")),
    Kind("classification", ("text", "label"), ("labels", "demonstrations", "texts")),
    Kind("language modelling", ("text",), ("demonstrations", "texts")),
    Kind("prompt-only", ("prompt",), ("prompts",)),
)
"""The first whose columns a row has is its type."""

NATURAL: Mapping[str, tuple[str, tuple[tuple[str, ...], ...]]] = {
    "demonstrations": ("Supervised fine-tuning", (("prompt", "completion"), ("messages",), ("text",))),
    "rankings": (
        "Learning from preferences",
        (
            ("prompt", "chosen", "rejected"),
            ("chosen", "rejected"),
            ("prompt", "answers"),
            ("prompt", "completions", "scores or ranks"),
        ),
    ),
    "labels": ("Learning from labels", (("prompt", "completion", "label or rating"), ("text", "label"))),
    "aspects": ("A reward model of several aspects", (("prompt", "completion", "scores"),)),
    "prompts": ("Sampling answers", (("prompt",),)),
    "steps": ("A process reward model", (("prompt", "completions", "labels"),)),
    "texts": ("Continued pre-training", (("text",),)),
}
"""What needs rows of a kind, in words, and the columns that it looks for."""


def kind_of(row: Mapping[str, Any]) -> Kind | None:
    """The type of a row, None where its columns make none."""
    return next((kind for kind in KINDS if set(kind.columns) <= set(row)), None)


@dataclass(frozen=True)
class Making:
    """How rows become items: what is wanted, the names of classes, and whether scores give pairs a margin."""

    wants: Wants
    classes: Sequence[str] = ()
    score_margin: bool = False

    def items(self, row: JSON, where: str, tally: Tally, there: Sequence[str] = ()) -> list[Item]:
        """The items of one row, none where the row holds nothing of the wanted kind; then `tally` says why.

        `there` are the columns of the file, which errors name, where the row was converted.
        UserError: a row of a type that cannot be read as what is wanted; any column with a value it must not have.
        """
        kind = kind_of(row)
        asked = self.wants == "prompts" and "prompt" in row  # of any file that has one
        if not asked and (kind is None or self.wants not in kind.serves):
            raise UserError(self._unfit(kind, there or tuple(row), where))
        for column in columns.UNREADABLE:
            if row.get(column) not in (None, [], {}, ""):
                raise UserError(f"{where}: the column {column!r} cannot be used yet; take it out to train without it.")
        made: Item | list[Item] | None = getattr(self, f"_{self.wants}")(row, where, tally)
        if made is None:
            return []
        return made if isinstance(made, list) else [made]

    def _demonstrations(self, row: JSON, where: str, tally: Tally) -> Item | None:
        if {"prompt", "completion"} <= set(row) or "messages" in row or "text" in row:
            if "completion" in row and (row.get("label") is False or row.get("label") == 0):
                tally["answers left out: labelled false"] += 1
                return None
            return columns.demonstration(row, where)
        pair = self._rankings(row, where, tally)
        if pair is None:
            return None
        tally["rankings, of which the best answer is taken"] += 1
        return Demonstration(pair.prompt, pair.answers[0], pair.weight)

    def _texts(self, row: JSON, where: str, tally: Tally) -> Item:
        return columns.demonstration(row, where)

    def _rankings(self, row: JSON, where: str, tally: Tally) -> Ranking | None:
        if "chosen" not in row:
            return judged.many(row, where, tally, self.score_margin)
        found = columns.ranking(row, where)
        if self.score_margin and "margin" not in row and {"score_chosen", "score_rejected"} <= set(row):
            found = replace(found, margin=judged.scores_margin(row, where))
        return found

    def _labels(self, row: JSON, where: str, tally: Tally) -> Item | list[Item]:
        if "chosen" not in row or "completion" in row:
            return judged.label(row, where, self.classes)
        pair = columns.ranking(row, where)
        tally["pairs, taken as two labels: chosen 1, rejected 0"] += 1
        return [Label(pair.prompt, side, value, pair.weight) for side, value in zip(pair.answers, (1.0, 0.0), strict=True)]

    def _aspects(self, row: JSON, where: str, tally: Tally) -> Item:
        return judged.aspects(row, where)

    def _steps(self, row: JSON, where: str, tally: Tally) -> Item:
        return judged.steps(row, where)

    def _prompts(self, row: JSON, where: str, tally: Tally) -> Item | None:
        if "prompt" in row:
            return columns.asked(row, where)
        if "messages" in row:
            return _before_last_answer(row, where, tally)
        tally["pairs, of which the common beginning is the prompt"] += 1
        return columns.ranking(row, where).prompt

    def _unfit(self, kind: Kind | None, there: Sequence[str], where: str) -> str:
        verb, types = NATURAL[self.wants]
        wanted = ", or ".join(" and ".join(type_) for type_ in types)
        said = f"{where}: {verb} needs the columns {wanted}; there are: {', '.join(there) or 'none'}."
        return said if kind is None else f"{said[:-1]} ({kind.name}, {served(kind)})."


def _before_last_answer(row: JSON, where: str, tally: Tally) -> Prompt | None:
    turns = columns.messages(row["messages"], f"{where}, messages")
    last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=len(turns))
    asked = turns[:last] if last == len(turns) - 1 else turns
    if not asked or asked[-1].role == "assistant":
        tally["dialogues left out: nothing comes before the answer"] += 1
        return None
    if last == len(turns) - 1:
        tally["dialogues, of which all before the last answer is the prompt"] += 1
    return Prompt(messages=asked, meta=columns.rest(row, "messages"))


def served(kind: Kind) -> str:
    """Which algorithms a type of dataset serves, in words."""
    found = algorithms(kind)
    return f"which serves {', '.join(found)}" if found else f"which can be read as {' or '.join(kind.serves)}"


def algorithms(kind: Kind) -> list[str]:
    """The names of the algorithms whose `eats` this type can be read as, the natural ones first."""
    found: dict[str, list[str]] = {}
    for name in registry.names("algorithms"):
        try:
            algorithm = registry.find("algorithms", name)
        except (UserError, ImportError):  # a part whose package is not installed serves nothing here
            continue
        if getattr(algorithm, "thumbs", False) and kind.name in ("classification", "rated answers"):
            continue
        found.setdefault(str(getattr(algorithm, "eats", None)), []).append(name)
    return [name for wants in kind.serves for name in found.get(wants, ())]
