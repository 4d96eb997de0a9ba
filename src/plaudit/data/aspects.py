"""Answers rated by aspects: to rows of tokens, and to the sides of a batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from plaudit.core.batch import Batch
from plaudit.data import collate, encode
from plaudit.data.template import Tokenizer
from plaudit.schema import Rated


@dataclass(frozen=True)
class EncodedAspects(encode.Encoded):
    """A rated answer as a row."""

    scores: Mapping[str, float] = field(default_factory=dict)


def encode_aspects(
    tokenizer: Tokenizer,
    items: Sequence[Rated],
    *,
    max_length: int | None = None,
    truncation: encode.Truncation = "keep_start",
) -> tuple[list[EncodedAspects], encode.EncodeReport]:
    """One row for each rated answer, by the rule of demonstrations."""
    report = encode.EncodeReport("rated answers", max_length)
    kept = [row for place, item in enumerate(items) for row in aspect_rows(tokenizer, item, place, report, truncation)]
    report.require_some()
    return kept, report


def aspect_rows(
    tokenizer: Tokenizer, item: Rated, place: int, report: encode.EncodeReport, truncation: encode.Truncation
) -> list[EncodedAspects]:
    """The one row of a rated answer, counted in `report`; none where it is left out."""
    rows = encode.demonstration_rows(tokenizer, item, place, report, "keep_start" if truncation == "split" else truncation)
    return [EncodedAspects(row.rows, place, weight=row.weight, scores=item.scores) for row in rows]


def collate_aspects(encoded: Sequence[EncodedAspects], *, dtype: torch.dtype = torch.float32) -> Batch:
    """A row for each answer; sides `score/<aspect>` (0 where it is not rated) and `rated/<aspect>` (1 where it is)."""
    names = sorted({name for item in encoded for name in item.scores})
    sides = {}
    for name in names:
        sides[f"score/{name}"] = torch.tensor([item.scores.get(name, 0.0) for item in encoded], dtype=dtype)
        sides[f"rated/{name}"] = torch.tensor([float(name in item.scores) for item in encoded], dtype=dtype)
    return collate.collate_demonstrations(encoded, dtype=dtype).with_(sides=sides)
