"""A reward model asked for its scores of held-out pairs. The one part of the doctor that needs torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from plaudit.data.encode import Encoded, encode_rankings
from plaudit.data.readers import read_rankings
from plaudit.evaluation.doctor.evidence import ScoredPairs
from plaudit.evaluation.subject import Told, silent
from plaudit.schema import UserError

AT_ONCE = 64
"""Pairs between two words to whoever waits."""


def scored_pairs(folder: Path, file: Path, told: Told = silent, *, max_length: int = 1024) -> ScoredPairs:
    """Scores and lengths (tokens) of the pairs of `file` under the reward model in `folder`. UserError where there are none.

    Scores are as they were trained, logits of one answer over another: a saved model's are divided by their deviation.
    """
    import torch

    from plaudit.models.machine import device
    from plaudit.models.scorer import Scorer, load_rewards, reward_info

    network, scale = load_rewards([folder], dtype=torch.float32, device=device())[0], reward_info(folder).deviation
    items, _ = encode_rankings(network.base.tokenizer, read_rankings(file), max_length=max_length, truncation="drop")
    pairs = [item for item in items if len(item.rows) == 2]
    if not pairs:
        raise UserError(f"{file}: holds no pairs that a reward model can be measured on")
    scorer, scores = Scorer(network), []
    for start in range(0, len(pairs), AT_ONCE):
        scores += [scale * score for score in scorer([row.ids for item in pairs[start : start + AT_ONCE] for row in item.rows])]
        told(min(len(pairs), start + AT_ONCE), len(pairs))
    return of_rows(pairs, scores)


def of_rows(pairs: list[Encoded], scores: list[float]) -> ScoredPairs:
    """`scores` of the rows of `pairs`, better before worse. Lengths are of prompt and answer: only their differences count."""
    each = np.array(scores, dtype=np.float64).reshape(-1, 2)
    lengths = np.array([[len(row.ids) for row in item.rows] for item in pairs], dtype=np.float64)
    return ScoredPairs(each[:, 0], each[:, 1], lengths[:, 0], lengths[:, 1])
