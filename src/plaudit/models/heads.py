"""The scalar head of reward models and critics."""

from __future__ import annotations

import torch
from torch import nn


def scalar_head(width: int) -> nn.Linear:
    """A linear map from a hidden state [width] to one number, in float32, that gives 0 at first.

    So a reward model's loss starts at log 2 and a critic's values at 0, whatever the size of the hidden states. (Huang et al.
    2024, detail 8, draw it from N(0, 1 / (width + 1)) instead: with a model whose normalised states are not of size 1, the
    first scores are then large and have to be unlearned.)
    """
    head = nn.Linear(width, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head


def rescaled(head: nn.Linear, mean: float, deviation: float) -> nn.Linear:
    """A head that gives (score - mean) / deviation.

    Ziegler et al. 2019 normalise rewards so, and the options of PPO then mean the same everywhere.
    """
    out = nn.Linear(head.in_features, 1).to(head.weight)
    with torch.no_grad():
        out.weight.copy_(head.weight / deviation)
        out.bias.copy_((head.bias - mean) / deviation)
    return out
