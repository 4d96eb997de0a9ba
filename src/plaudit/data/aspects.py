"""Answers rated by aspects: rows with `scores`, an object of numbers by aspect, beside the columns of a demonstration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from plaudit.core.batch import Batch
from plaudit.data import collate, encode, readers
from plaudit.data.columns import describe
from plaudit.data.template import Tokenizer
from plaudit.schema import Prompt, Rated, UserError

COLUMN = "scores"


@dataclass(frozen=True)
class EncodedAspects(encode.Encoded):
    """A rated answer as a row."""

    scores: Mapping[str, float] = field(default_factory=dict)


def read_aspects(path: str | Path) -> list[Rated]:
    """Rows of `prompt`, `completion` and `scores`, such as {"helpful": 4, "safe": 5}. UserError names file and row."""
    found = []
    for number, item in enumerate(readers.read_demonstrations(path), 1):
        where = f"{path}, row {number}, {COLUMN}"
        scores = item.prompt.meta.get(COLUMN)
        if not isinstance(scores, Mapping) or not scores:
            raise UserError(
                f'{where}: must be an object of numbers by aspect, such as {{"helpful": 4}}, not {describe(scores)}.'
            )
        for name, value in scores.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise UserError(f"{where}, {name}: must be a finite number, not {describe(value)}.")
        meta = {key: value for key, value in item.prompt.meta.items() if key != COLUMN}
        prompt: Prompt = replace(item.prompt, meta=meta)
        found.append(Rated(prompt, item.answer, item.weight, {name: float(value) for name, value in scores.items()}))
    return found


def encode_aspects(
    tokenizer: Tokenizer,
    items: Sequence[Rated],
    *,
    max_length: int | None = None,
    truncation: encode.Truncation = "keep_start",
) -> tuple[list[EncodedAspects], encode.EncodeReport]:
    """One row for each rated answer, by the rule of demonstrations."""
    rows, report = encode.encode_demonstrations(tokenizer, items, max_length=max_length, truncation=truncation)
    report.what = "rated answers"
    return [EncodedAspects(row.rows, row.source, weight=row.weight, scores=items[row.source].scores) for row in rows], report


def collate_aspects(encoded: Sequence[EncodedAspects], *, dtype: torch.dtype = torch.float32) -> Batch:
    """A row for each answer; sides `score/<aspect>` (0 where it is not rated) and `rated/<aspect>` (1 where it is)."""
    names = sorted({name for item in encoded for name in item.scores})
    sides = {}
    for name in names:
        sides[f"score/{name}"] = torch.tensor([item.scores.get(name, 0.0) for item in encoded], dtype=dtype)
        sides[f"rated/{name}"] = torch.tensor([float(name in item.scores) for item in encoded], dtype=dtype)
    return collate.collate_demonstrations(encoded, dtype=dtype).with_(sides=sides)
