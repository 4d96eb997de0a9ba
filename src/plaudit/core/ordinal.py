"""Ordered classes by cumulative logits: one score, and thresholds that cut it (McCullagh 1980, proportional odds)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


def level_logp(score: Tensor, thresholds: Tensor) -> Tensor:
    """Log-probability of each of K ordered levels, where P(level <= k) = sigmoid(threshold_k - score).

    score [R], thresholds [K - 1], rising -> [R, K]. McCullagh 1980, Regression Models for Ordinal Data, section 2: the odds of
    being above a level are those of another row times exp(difference of scores), the same at every level.

    By sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)), which loses no digits in the tails.
    """
    below = thresholds - score[:, None]
    gap = (-torch.expm1(thresholds[:-1] - thresholds[1:])).log()
    return F.pad(F.logsigmoid(below), (0, 1)) + F.pad(F.logsigmoid(-below), (1, 0)) + F.pad(gap, (1, 1))


def marginal_thresholds(counts: Sequence[float]) -> list[float]:
    """The thresholds [K - 1] at which a score of 0 gives K levels the shares of these counts, all above 0."""
    total, so_far, found = sum(counts), 0.0, []
    for count in counts[:-1]:
        so_far += count
        found.append(math.log(so_far / (total - so_far)))
    return found
