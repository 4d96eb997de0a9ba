"""The symmetric Kullback-Leibler divergence of two predictions of the same thing, as R-Drop takes it.

D(P, Q) = 1/2 [KL(P || Q) + KL(Q || P)] = 1/2 sum (P - Q) (log P - log Q)        (Liang et al. 2021, arXiv 2106.14448, eq. 2)
"""

from __future__ import annotations

import torch
from torch.utils.checkpoint import checkpoint

Tensor = torch.Tensor


def bernoulli(one: Tensor, two: Tensor) -> Tensor:
    """D of two Bernoulli distributions given by their logits, of one shape: 1/2 (p - q) (one - two)."""
    return 0.5 * (one.sigmoid() - two.sigmoid()) * (one - two)


def head_divergence(
    one: Tensor,
    two: Tensor,
    weight: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    chunk: int = 512,
) -> Tensor:
    """D of the token distributions that two hidden states [N, D] give under one output head [V, D]: [N], at least float32.

    temperature and softcap as in `logprob.head_logprob`.

    `chunk` positions at a time, and again in the backward pass, so that no [N, V] tensor exists.
    """

    def part(a: Tensor, b: Tensor) -> Tensor:
        logp, logq = (_logits(x, weight, bias, temperature, softcap).log_softmax(-1) for x in (a, b))
        return 0.5 * ((logp.exp() - logq.exp()) * (logp - logq)).sum(-1)

    cuts = range(0, one.shape[0], chunk)
    parts = [checkpoint(part, one[i : i + chunk], two[i : i + chunk], use_reentrant=False) for i in cuts]
    return torch.cat(parts) if parts else one.new_zeros(0)


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, softcap: float | None) -> Tensor:
    logits = torch.nn.functional.linear(hidden.to(weight.dtype), weight, bias)
    logits = logits.to(torch.promote_types(hidden.dtype, torch.float32))
    if softcap is not None:
        logits = torch.tanh(logits / softcap) * softcap
    return logits / temperature
