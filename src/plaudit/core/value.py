"""The critic's loss and how much it explains."""

from __future__ import annotations

import torch

from plaudit.core import masked

Tensor = torch.Tensor


def clipped_value_loss(value: Tensor, old: Tensor, returns: Tensor, clip: float) -> Tensor:
    """max((V - R)^2, (clip(V, old +- clip) - R)^2) / 2, unreduced: OpenAI's original PPO (baselines, ppo2)."""
    near = old + (value - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((value - returns) ** 2, (near - returns) ** 2)


def explained_variance(value: Tensor, returns: Tensor, mask: Tensor, total: masked.Total = masked.here) -> Tensor:
    """1 - Var(returns - value) / Var(returns) over counted tokens: 1 is perfect, 0 no better than a constant, less is worse."""
    spread = masked.variance(returns, mask, total)
    return torch.where(
        spread > 0, 1 - masked.variance(returns - value, mask, total) / spread.clamp(min=1e-12), torch.zeros_like(spread)
    )
