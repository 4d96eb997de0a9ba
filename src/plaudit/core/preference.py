"""Losses over answers that people put in order. Rows of one prompt are a segment; `place` 0 is the best."""

from __future__ import annotations

import torch
import torch.nn.functional as F

Tensor = torch.Tensor


def opponent(group: Tensor, place: Tensor) -> Tensor:
    """Index [R] of the other row of each pair. Raises ValueError where a group is not a pair with places 0 and 1."""
    order = torch.argsort(group * 2 + place, stable=True)
    paired = order.view(-1, 2) if len(order) % 2 == 0 else None
    if paired is None or not (
        torch.equal(group[paired[:, 0]], group[paired[:, 1]]) and bool((place[paired] == torch.tensor([0, 1]).to(place)).all())
    ):
        raise ValueError("pairs expected: every group needs exactly two rows, places 0 and 1")
    other = torch.empty_like(order)
    other[paired[:, 0]], other[paired[:, 1]] = paired[:, 1], paired[:, 0]
    return other


def bradley_terry(score: Tensor, other: Tensor, margin: Tensor, probability: Tensor) -> Tensor:
    """-p log sigmoid(s - s' - m) - (1 - p) log sigmoid(s' - s + m) for each row against its opponent, unreduced [R].

    Bradley and Terry 1952; as a reward model's loss Ouyang et al. 2022 (arXiv:2203.02155), eq. 1; the margin inside the
    sigmoid is Llama 2's (arXiv:2307.09288, eq. 2); `probability` p is how sure we are that the row is the better one.
    The caller weighs winners 1 and losers 0, so that a pair counts once.
    """
    gap = score - score[other] - margin
    return -probability * F.logsigmoid(gap) - (1 - probability) * F.logsigmoid(-gap)
