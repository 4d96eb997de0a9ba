"""What a reward is: aligned prompts and completions in, one number or None for each out."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from plaudit.schema import Completion, Prompt, UserError

Scores = list[float | None]
"""One number for each row (a `Dense` one where it is the sum of numbers for its tokens); None: the reward does not apply."""


class Dense(float):
    """The reward of an answer as the sum of what each of its tokens earned: a float that remembers them, in order."""

    tokens: tuple[float, ...]

    def __new__(cls, tokens: Sequence[float]) -> Dense:
        made = super().__new__(cls, math.fsum(tokens))
        made.tokens = tuple(tokens)
        return made


@dataclass(frozen=True)
class TrainerState:
    """Where the run stands, as transformers' TrainerState names it: functions read `trainer_state.global_step`."""

    global_step: int = 0
    max_steps: int = 0
    epoch: float = 0.0


@dataclass
class Context:
    """What one scoring knows of the run, and what the reward functions log during it."""

    state: TrainerState = TrainerState()
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Extra columns of the table of samples, from `log_extra(column, values)`: one value for each row."""
    metrics: dict[str, list[float]] = field(default_factory=dict)
    """Values from `log_metric(name, value)`, in the order logged."""
    parts: dict[str, Scores] = field(default_factory=dict)
    """What a reward is made of (the members of an ensemble, aspects): shown beside the rewards, never counted again."""

    def log_extra(self, column: str, values: Sequence[Any]) -> None:
        self.columns[column] = list(values)

    def log_part(self, name: str, values: Scores) -> None:
        self.parts[name] = list(values)

    def log_metric(self, name: str, value: float) -> None:
        self.metrics.setdefault(name, []).append(float(value))


class Reward(Protocol):
    """Scores answers. `concurrent` says that `score` returns an awaitable at once and does its work while others run."""

    name: str
    concurrent: bool

    def score(
        self, prompts: Sequence[Prompt], completions: Sequence[Completion], context: Context
    ) -> Scores | Awaitable[Scores]:
        """One score for each row; `prompts[i]` is the prompt of `completions[i]`."""
        ...


def checked(values: Any, rows: int, what: str, lengths: Sequence[int] | None = None) -> Scores:
    """The values a reward returned, as floats and None. UserError names the reward (`what`) and the first bad row.

    Lists, tuples, arrays and tensors are taken, and numbers of any kind in them. With `lengths`, the answers' tokens, an answer
    may have a list of as many numbers instead of one.
    """
    if hasattr(values, "tolist"):
        values = values.tolist()
    if not isinstance(values, list | tuple):
        raise UserError(f"{what} returned {_shown(values)} instead of a list with one number for each of the {rows} answers")
    if len(values) != rows:
        raise UserError(f"{what} returned {len(values)} values for {rows} answers; it must return one for each")
    return [
        _number(value, row, what) if lengths is None or not _listed(value) else _dense(value, row, what, lengths[row])
        for row, value in enumerate(values)
    ]


def _listed(value: Any) -> bool:
    return isinstance(value, list | tuple) or (getattr(value, "ndim", 0) == 1 and len(value) != 1)


def _dense(value: Any, row: int, what: str, length: int) -> Dense:
    found = value.tolist() if hasattr(value, "tolist") else list(value)
    if len(found) != length:
        raise UserError(
            f"{what} returned {len(found)} numbers for answer {row + 1}, which has {length} tokens; it must return one for "
            "each token, or a single number"
        )
    numbers = [_number(one, row, what) for one in found]
    if None in numbers:
        raise UserError(
            f"{what} returned None for token {numbers.index(None) + 1} of answer {row + 1}; 0 is what a token earns that earns "
            "nothing, and None in place of the list leaves the answer out"
        )
    return Dense([number for number in numbers if number is not None])


def _number(value: Any, row: int, what: str) -> float | None:
    if value is None:
        return None
    if hasattr(value, "item") and getattr(value, "size", 1) != 0:
        try:
            value = value.item()
        except (ValueError, RuntimeError, TypeError):
            raise UserError(
                f"{what} returned {_shown(value)} for answer {row + 1}; it must be a single number or None"
            ) from None
    if not isinstance(value, int | float):
        raise UserError(f"{what} returned {_shown(value)} for answer {row + 1}; it must be a number or None")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{what} returned {number} for answer {row + 1}; it must be finite, or None where it does not apply")
    return number


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
