"""Train, validation and test by prompt: a prompt, however often it comes up, is in one split only.

Where a prompt goes is read from a hash of its normalised text and the seed. So the order of the file does not matter,
and a prompt stays where it is when more data come in: what was tested on is never trained on later. A row whose prompt was
made from another's (data/augment.py) says so in its column `split_key`, and goes where that one goes.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from plaudit.schema import Demonstration, Label, Message, Prompt, Ranking, Steps, UserError

Item = TypeVar("Item", Prompt, Demonstration, Ranking, Label, Steps)
SPLIT_KEY = "split_key"
"""The column that holds what a row is split by, where that is not its own prompt."""
NAMES = ("train", "validation", "test")


@dataclass(frozen=True)
class Splits(Generic[Item]):
    """The items of each split, in the order in which they were given. Iterates as train, validation, test."""

    train: list[Item] = field(default_factory=list)
    validation: list[Item] = field(default_factory=list)
    test: list[Item] = field(default_factory=list)

    def __iter__(self) -> Iterator[list[Item]]:
        return iter((self.train, self.validation, self.test))

    def named(self) -> dict[str, list[Item]]:
        return {name: getattr(self, name) for name in NAMES}


def split_by_prompt(items: Sequence[Item], *, fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0) -> Splits[Item]:
    """Splits of about these fractions of the prompts (train, validation, test; they add up to 1).

    Prompts that differ only in case, blanks or the form of characters count as one prompt. Each split with a fraction
    above 0 gets at least one prompt (the one whose hash is nearest to its part); UserError where there are too few.
    """
    if len(fractions) != 3 or min(fractions) < 0 or not math.isclose(sum(fractions), 1.0, abs_tol=1e-6):
        raise UserError(f"split fractions must be three numbers of 0 or more that add up to 1, not {list(fractions)}.")
    points = np.array([point(home_key(item), seed) for item in items])
    splits: list[list[Item]] = [[], [], []]
    for item, home in zip(items, homes(points, fractions), strict=True):
        splits[home].append(item)
    return Splits(*splits)


def homes(points: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """The split (0, 1, 2) of each item by its prompt's point. UserError as above."""
    different = np.unique(points)
    wanted = [i for i, part in enumerate(fractions) if part > 0]
    if len(different) < len(wanted):
        names = ", ".join(NAMES[i] for i in wanted)
        raise UserError(
            f"There are {len(different)} different prompts for {len(wanted)} splits ({names}); give more, or ask for fewer."
        )
    edges = [0.0, fractions[0], fractions[0] + fractions[1], 1.0]
    home = np.full(len(different), wanted[-1])
    for i in reversed(wanted):
        home[different < edges[i + 1]] = i
    for split in wanted:  # one that is empty gets the nearest prompt of a split that can spare one
        if split not in home:
            spare = np.flatnonzero(np.bincount(home, minlength=3)[home] > 1)
            away = np.maximum(edges[split] - different[spare], different[spare] - edges[split + 1])
            home[spare[np.argmin(away)]] = split
    return home[np.searchsorted(different, points)]


def half(items: Sequence[Any], which: Literal["a", "b"]) -> list[int]:
    """The places of the items whose prompt falls into one of two halves; UserError where none does.

    By the prompt's text alone: another seed moves none, nor do more data.
    """
    chosen = [place for place, item in enumerate(items) if _side(home_key(item)) == which]
    if not chosen:
        raise UserError(f"no prompt of the {len(items)} rows falls into data_half {which}; give more, or data_half=none.")
    return chosen


def _side(key: str) -> str:
    """a or b, by another hash than the one that splits, so that the halves of every split are halves."""
    return "ab"[hashlib.sha256(f"half\x00{key}".encode()).digest()[0] & 1]


def home_key(item: Prompt | Demonstration | Ranking | Label | Steps) -> str:
    """What an item is split by: its column `split_key` where it has one, else its prompt."""
    prompt = item if isinstance(item, Prompt) else item.prompt
    key = prompt.meta.get(SPLIT_KEY)
    return normal(key) if isinstance(key, str) and key.strip() else prompt_key(item)


def prompt_key(item: Prompt | Demonstration | Ranking | Label | Steps) -> str:
    """The normalised text of the item's prompt; where it is empty (language modelling), of the answers."""
    prompt = item if isinstance(item, Prompt) else item.prompt
    key = normal(prompt.messages if prompt.text is None else prompt.text)
    if key or isinstance(item, Prompt):
        return key
    return "\x1f".join(normal(answer) for answer in answers(item))


def answers(item: Prompt | Demonstration | Ranking | Label | Steps) -> tuple[tuple[Message, ...] | str, ...]:
    """The answers of an item, none for a prompt."""
    if isinstance(item, Prompt):
        return ()
    if isinstance(item, Steps):
        return ("\n".join(item.steps),)
    return item.answers if isinstance(item, Ranking) else (item.answer,)


def normal(content: str | Sequence[Message]) -> str:
    """Text without what hardly tells two texts apart: case, the number of blanks, full-width and half-width forms."""
    if isinstance(content, str):
        return " ".join(unicodedata.normalize("NFKC", content).casefold().split())
    return "\x1e".join(f"{turn.role}: {normal(turn.content)}" for turn in content)


def point(key: str, seed: int) -> float:
    """A number in [0, 1) from the text of a prompt and the seed."""
    return int.from_bytes(hashlib.sha256(f"{seed}\x00{key}".encode()).digest()[:6], "big") / 2**48
