"""What the rules want to know of data: duplicates and leaks, which side of a pair is longer, how annotators agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plaudit.data.annotations import read_ballots
from plaudit.data.check import check
from plaudit.data.inspect import natural
from plaudit.data.items import Item
from plaudit.data.readers import read
from plaudit.data.split import answers
from plaudit.evaluation.doctor.evidence import Dataset
from plaudit.judgements.quality import assess, assess_ballots
from plaudit.schema import Message, Ranking, UserError


def facts(path: Path, held_out: Path | None = None, **options: Any) -> Dataset:
    """Of a file of training rows, and of the held-out file beside it. UserError where a file cannot be read."""
    items = _items(path, options)
    other = _items(held_out, options) if held_out is not None else []
    splits = {"train": items, **({"held-out": other} if other else {})}
    return Dataset(check(splits), len(items), len(other), longer=longer(items))


def labels(path: Path) -> Dataset | None:
    """Of a file with several annotators' answers; None where it is none."""
    try:
        ballots, rows = read_ballots(path)
    except UserError:
        return None
    return Dataset(items=rows, quality=assess_ballots(ballots))


def of_store(path: Path) -> Dataset:
    """Of the judgements in a store. UserError where there are none."""
    from plaudit.store import Store

    with Store(path, readonly=True) as store:
        feedback, completions = store.feedback(current=False), store.completions()
    if not feedback:
        raise UserError(f"store {path}: holds no judgements yet")
    return Dataset(items=len(feedback), quality=assess(feedback, completions))


def longer(items: Sequence[Item]) -> tuple[int, int] | None:
    """(pairs whose better answer has more words, pairs whose answers differ in words); None where there are no pairs."""
    pairs = [[_words(side) for side in answers(item)] for item in items if isinstance(item, Ranking) and len(item.answers) == 2]
    different = [(better, worse) for better, worse in pairs if better != worse]
    return (sum(better > worse for better, worse in different), len(different)) if pairs else None


def _items(path: Path, options: dict[str, Any]) -> list[Item]:
    found = natural(path, **{name: value for name, value in options.items() if name != "skip_refused"})
    if found is None:
        raise UserError(f"{path}: its rows have no type that is known; `plaudit data inspect {path}` shows the columns")
    return read(path, found[0], **options).items


def _words(answer: str | Sequence[Message]) -> int:
    return len((answer if isinstance(answer, str) else " ".join(turn.content for turn in answer)).split())
