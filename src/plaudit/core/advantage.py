"""Rewards per token, generalised advantage estimation, and advantages among the siblings of one prompt."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def last_token(mask: Tensor) -> Tensor:
    """[R, T] with 1 on the last counted token of each row and 0 elsewhere; a row that counts nothing stays 0."""
    position = torch.arange(1, mask.shape[-1] + 1, device=mask.device, dtype=mask.dtype)
    index = (mask * position).argmax(-1, keepdim=True)
    return torch.zeros_like(mask).scatter(-1, index, 1.0) * mask


def token_rewards(score: Tensor, kl: Tensor, mask: Tensor, coefficient: float, dense: Tensor | None = None) -> Tensor:
    """r_t = -coefficient * kl_t, and the score of the whole answer on its last token only.

    score [R], kl [R, T] (nats), mask [R, T] -> [R, T]. Ziegler et al. 2019, eq. 2. `dense` [R, T] are parts of the score that
    belong to tokens: they stay on them, and the last token gets what is left of the score, so that the sum is the same.
    """
    if dense is None:
        return -coefficient * kl * mask + last_token(mask) * score[:, None]
    dense = dense * mask
    return -coefficient * kl * mask + dense + last_token(mask) * (score - dense.sum(-1))[:, None]


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Advantages and returns [R, T] by generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438, eq. 16).

    delta_t = r_t + gamma V_{t+1} - V_t and A_t = delta_t + gamma lam A_{t+1}, where t+1 is the row's next *counted* token
    (what a tool or another speaker wrote in between is skipped) and V = A = 0 after the last one. returns = A + V.
    The walk over time is over columns of the whole batch, so it costs T small steps, not R x T.
    """
    advantages = torch.zeros_like(rewards)
    ahead = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(ahead)
    counts = mask > 0
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        now = delta + gamma * lam * ahead
        ahead = torch.where(counts[:, t], now, ahead)
        next_value = torch.where(counts[:, t], values[:, t], next_value)
        advantages[:, t] = torch.where(counts[:, t], now, 0.0)
    return advantages, (advantages + values) * mask


def group_sizes(group: Tensor, dtype: torch.dtype) -> Tensor:
    """How many rows each row's group has, itself included: [R] of any group names -> [R]."""
    return _per_group(torch.ones_like(group, dtype=dtype), group)


def group_mean(x: Tensor, group: Tensor) -> Tensor:
    """Mean of x [R] over the rows of each row's own group -> [R]. Groups may have any size."""
    return _per_group(x, group) / group_sizes(group, x.dtype)


def group_deviation(x: Tensor, group: Tensor) -> Tensor:
    """Standard deviation of x [R] (n - 1) over each row's own group -> [R]; 0 where a group has one row."""
    squares = _per_group((x - group_mean(x, group)) ** 2, group)
    return (squares / (group_sizes(group, x.dtype) - 1).clamp(min=1)).sqrt()


def leave_one_out(x: Tensor, group: Tensor) -> Tensor:
    """x minus the mean of the group's other rows, [R] (Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740, eq. 8).

    A row without siblings has nothing to be compared with: 0.
    """
    size = group_sizes(group, x.dtype)
    others = (_per_group(x, group) - x) / (size - 1).clamp(min=1)
    return torch.where(size > 1, x - others, torch.zeros_like(x))


def rewards_to_go(rewards: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    """Discounted sum of this and all later counted rewards of the row, [R, T] -> [R, T]; 0 outside the mask."""
    return gae(rewards, torch.zeros_like(rewards), mask, gamma, 1.0)[0]


def _per_group(x: Tensor, group: Tensor) -> Tensor:
    """Sum of x [R] over each row's own group, [R]."""
    _, place = torch.unique(group, return_inverse=True)
    sums = x.new_zeros(int(place.max()) + 1 if len(place) else 0).index_add(0, place, x)
    return sums[place]
