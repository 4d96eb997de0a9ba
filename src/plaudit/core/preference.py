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


def ordered_pairs(group: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Indices [P] of the better and of the worse row of every pair within a group: K (K - 1) / 2 of a ranking of K.

    Raises ValueError where a row is alone in its group: a ranking was torn apart, or never was one.
    """
    together = group[:, None] == group[None, :]
    if bool((together.sum(-1) < 2).any()):
        raise ValueError("rankings expected: every group needs two rows or more")
    better, worse = (together & (place[:, None] < place[None, :])).nonzero(as_tuple=True)
    return better, worse


def bradley_terry(score: Tensor, other: Tensor, margin: Tensor, probability: Tensor) -> Tensor:
    """-p log sigmoid(s - s' - m) - (1 - p) log sigmoid(s' - s + m) for each row against its opponent, unreduced [R].

    Bradley and Terry 1952; as a reward model's loss Ouyang et al. 2022 (arXiv:2203.02155), eq. 1; the margin inside the
    sigmoid is Llama 2's (arXiv:2307.09288, eq. 2); `probability` p is how sure we are that the row is the better one.
    The caller weighs winners 1 and losers 0, so that a pair counts once.
    """
    return pair_loss(score - score[other] - margin, probability)


def pair_loss(gap: Tensor, probability: Tensor) -> Tensor:
    """-p log sigmoid(gap) - (1 - p) log sigmoid(-gap), unreduced: Bradley-Terry's loss of a difference of scores."""
    return -probability * F.logsigmoid(gap) - (1 - probability) * F.logsigmoid(-gap)


def plackett_luce(score: Tensor, group: Tensor, place: Tensor) -> Tensor:
    """-log P(this row is chosen first among those placed no better than it), unreduced [R]; 0 for the last of a group.

    P(y_1 > ... > y_K) = prod_k exp(s_k) / sum_{j >= k} exp(s_j): Plackett 1975, Luce 1959. Summed over the rows of a group it
    is the ranking's negative log-likelihood; for two rows it is Bradley-Terry's. Groups may have any size.
    """
    rest = torch.where(
        (group[:, None] == group[None, :]) & (place[None, :] >= place[:, None]), score[None, :], score.new_tensor(float("-inf"))
    )
    return rest.logsumexp(-1) - score


def log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x < 0 without cancellation (Maechler 2012): log(-expm1(x)) near 0, log1p(-exp(x)) below -log 2."""
    near = x > -0.6931471805599453
    return torch.where(near, (-torch.expm1(torch.where(near, x, x.new_tensor(-0.1)))).log(), torch.log1p(-torch.exp(x)))


def log_odds_ratio(chosen: Tensor, rejected: Tensor) -> Tensor:
    """log(odds(chosen) / odds(rejected)) with odds(p) = p / (1 - p), from mean log-probabilities < 0 (ORPO, eq. 4)."""
    return (chosen - rejected) - (log1mexp(chosen) - log1mexp(rejected))
