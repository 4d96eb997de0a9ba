"""The heads: the scalar one of reward models and critics, the one of classifiers, the one of ordered levels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

Tensor = torch.Tensor


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


def class_head(width: int, classes: int) -> nn.Linear:
    """A linear map from a hidden state [width] to one logit for each class, in float32, that gives 0 at first.

    Without bias, as transformers' sequence classifiers have it. The first loss is log of the number of classes.
    """
    head = nn.Linear(width, classes, bias=False)
    nn.init.zeros_(head.weight)
    return head


class OrdinalHead(nn.Linear):
    """A scalar head without bias that gives 0 at first, and rising thresholds beside it, which are trained too.

    A threshold is `width` ** 0.5 times its parameter: an optimiser that moves every parameter by about its learning rate moves
    a score by the sum over `width` of them, and a threshold would lag far behind.
    """

    def __init__(self, width: int, thresholds: Sequence[float]) -> None:
        """thresholds [K - 1]: where they begin, rising."""
        super().__init__(width, 1, bias=False)
        nn.init.zeros_(self.weight)
        self.scale = width**0.5
        first = torch.tensor(list(thresholds), dtype=torch.float64)
        gaps = first.diff()
        raw = torch.cat([first[:1], gaps + (-torch.expm1(-gaps)).log()])  # the inverse of softplus
        self.cuts = nn.Parameter((raw / self.scale).to(self.weight.dtype))

    def thresholds(self) -> Tensor:
        """[K - 1], each above the one before by a softplus."""
        raw = self.cuts * self.scale
        return torch.cat([raw[:1], F.softplus(raw[1:])]).cumsum(0)

    def scalar(self) -> nn.Linear:
        """The score alone, as an ordinary scalar head."""
        head = scalar_head(self.in_features).to(self.weight)
        with torch.no_grad():
            head.weight.copy_(self.weight)
        return head


def mixed(head: nn.Linear, weights: Sequence[float]) -> nn.Linear:
    """A scalar head that gives the weighted sum of what `head` gives."""
    out = nn.Linear(head.in_features, 1).to(head.weight)
    with torch.no_grad():
        weight = head.weight.new_tensor(list(weights))
        out.weight.copy_((weight[:, None] * head.weight).sum(0, keepdim=True))
        out.bias.copy_((weight * head.bias).sum(0, keepdim=True))
    return out


def rescaled_each(head: nn.Linear, scale: Sequence[tuple[float, float]]) -> nn.Linear:
    """A head without bias as one that gives (score - mean) / deviation, with each output's own (mean, deviation)."""
    out = nn.Linear(head.in_features, head.out_features).to(head.weight)
    with torch.no_grad():
        mean, deviation = head.weight.new_tensor(list(scale)).T
        out.weight.copy_(head.weight / deviation[:, None])
        out.bias.copy_(-mean / deviation)
    return out


def rescaled(head: nn.Linear, mean: float, deviation: float) -> nn.Linear:
    """A head that gives (score - mean) / deviation.

    Ziegler et al. 2019 normalise rewards so, and the options of PPO then mean the same everywhere.
    """
    out = nn.Linear(head.in_features, 1).to(head.weight)
    with torch.no_grad():
        out.weight.copy_(head.weight / deviation)
        out.bias.copy_((head.bias - mean) / deviation)
    return out
