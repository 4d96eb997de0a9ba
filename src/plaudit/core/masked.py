"""Sums, means and whitening over the tokens that count.

`total` adds a tensor up over all ranks; in one process it is the identity. Statistics use it so that they are global, and
two ranks with unequal shares see the same numbers as one process would.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

Tensor = torch.Tensor
Total = Callable[[Tensor], Tensor]


def here(x: Tensor) -> Tensor:
    """`total` of a single process: nothing to add."""
    return x


def mean(x: Tensor, mask: Tensor, total: Total = here) -> Tensor:
    """Mean of x where mask is 1; 0 where nothing counts. x and mask broadcast."""
    parts = total(torch.stack([(x * mask).sum(), mask.expand_as(x).sum()]))
    return parts[0] / parts[1].clamp(min=1)


def variance(x: Tensor, mask: Tensor, total: Total = here) -> Tensor:
    """Biased (population) variance of x where mask is 1, as OpenAI's original PPO has it."""
    return mean((x - mean(x, mask, total)) ** 2, mask, total)


def whiten(x: Tensor, mask: Tensor, *, keep_mean: bool = False, eps: float = 1e-8, total: Total = here) -> Tensor:
    """x with mean 0 and standard deviation 1 over the masked entries of all ranks; 0 outside the mask.

    keep_mean: only the scale is changed. That is how rewards are whitened: shifting them would pay or fine every token.
    """
    centre = mean(x, mask, total)
    scaled = (x - centre) * torch.rsqrt(variance(x, mask, total) + eps)
    return (scaled + centre if keep_mean else scaled) * mask
