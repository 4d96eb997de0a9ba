"""The scalar head of reward models and critics."""

from __future__ import annotations

import torch
from torch import nn


def scalar_head(width: int, *, seed: int = 0) -> nn.Linear:
    """A linear map from a hidden state [width] to one number, in float32: weight ~ N(0, 1 / (width + 1)), bias 0.

    The deviation 1 / sqrt(width + 1) is that of Stiennon et al. 2020's reward model (Huang et al. 2024, detail 8).
    """
    head = nn.Linear(width, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.normal_(0.0, (width + 1) ** -0.5, generator=generator)
        head.bias.zero_()
    return head


def rescaled(head: nn.Linear, mean: float, deviation: float) -> nn.Linear:
    """A head that gives (score - mean) / deviation: Ziegler et al. 2019 normalise rewards so that PPO's options mean the same everywhere."""
    out = nn.Linear(head.in_features, 1).to(head.weight)
    with torch.no_grad():
        out.weight.copy_(head.weight / deviation)
        out.bias.copy_((head.bias - mean) / deviation)
    return out
