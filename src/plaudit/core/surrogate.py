"""Clipped surrogates: PPO's and its relatives'. All are losses to be minimised, unreduced."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def clipped(logp: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """-min(ratio A, clip(ratio, 1 - low, 1 + high) A), unreduced, with ratio = exp(logp - old).

    Schulman et al. 2017 (arXiv:1707.06347), eq. 7, as a loss to be minimised. All tensors have one shape.
    """
    ratio = (logp - old).exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def clip_fraction(logp: Tensor, old: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """1 where clipping cut the gradient, 0 elsewhere; unreduced."""
    ratio = (logp - old).exp()
    return (((ratio > 1 + high) & (advantage > 0)) | ((ratio < 1 - low) & (advantage < 0))).to(logp.dtype)


def two_sided(log_ratio: Tensor, advantage: Tensor, low: float, high: float, ceiling: float | None = None) -> Tensor:
    """-min(min(ratio, ceiling) A, clip(ratio, 1 - low, 1 + high) A), unreduced, with ratio = exp(log_ratio).

    `ceiling` bounds what a negative advantage can cost where the ratio has run away: the dual clip of Ye et al. 2020
    (arXiv:1912.09729, eq. 5; `delta` of INTELLECT-2 and TRL). None leaves it out; then this is PPO's surrogate.
    """
    ratio = log_ratio.exp()
    free = ratio if ceiling is None else ratio.clamp(max=ceiling)
    return -torch.minimum(free * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def clipped_weight(log_ratio: Tensor, logp: Tensor, advantage: Tensor, ceiling: float) -> Tensor:
    """-sg[min(ratio, ceiling)] A logp: the weight is clipped, never the gradient (CISPO, arXiv:2506.13585, eq. 4)."""
    return -log_ratio.exp().clamp(max=ceiling).detach() * advantage * logp


def sequence_log_ratio(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """Mean log ratio of each row over its counted tokens, [R, T] -> [R, 1] (GSPO, arXiv:2507.18071, eq. 7)."""
    return (log_ratio * mask).sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)


def truncated_weight(old: Tensor, sampler: Tensor, cap: float) -> Tensor:
    """min(pi_old / pi_sampler, cap): corrects for a sampler whose numerics differ from the trainer's (Yao et al. 2025, TIS)."""
    return (old - sampler).exp().clamp(max=cap)
