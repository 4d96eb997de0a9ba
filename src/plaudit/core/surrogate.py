"""The clipped surrogate of PPO."""

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
