"""Log-probabilities and entropies from hidden states, without ever holding [tokens, vocabulary] of a whole batch.

The output head is applied to `chunk` positions at a time, and again in the backward pass, so memory is
chunk x vocabulary however long the batch is.
"""

from __future__ import annotations

from typing import Any

import torch

Tensor = torch.Tensor


def token_logprob(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The plain form, for small inputs: log-probability of `targets` [N] and entropy [N] (nats) from `logits` [N, V]."""
    logp = (logits / temperature).log_softmax(-1)
    return logp.gather(-1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def _chunk_logits(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float, softcap: float | None, statistics: torch.dtype
) -> Tensor:
    logits = torch.nn.functional.linear(hidden.to(weight.dtype), weight, bias).to(statistics)
    if softcap is not None:
        logits = logits.div_(softcap).tanh_().mul_(softcap)
    return logits.div_(temperature) if temperature != 1.0 else logits


class _HeadLogprob(torch.autograd.Function):
    """logp = z[target] - lse(z), entropy = lse(z) - sum softmax(z) z, with z = cap(hidden W^T + b) / temperature.

    cap(x) = c tanh(x / c) where there is a softcap c, with the slope 1 - (cap(x) / c)^2; else x.
    Gradients: d logp / dz = onehot - p and d entropy / dz_j = -p_j (log p_j + entropy), formed chunk by chunk.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        softcap: float | None,
        chunk: int,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        statistics = torch.promote_types(hidden.dtype, torch.float32)
        count = hidden.shape[0]
        logp = hidden.new_zeros(count, dtype=statistics)
        entropy = hidden.new_zeros(count, dtype=statistics)
        lse = hidden.new_zeros(count, dtype=statistics)
        for start in range(0, count, chunk):
            part = slice(start, min(start + chunk, count))
            z = _chunk_logits(hidden[part], weight, bias, temperature, softcap, statistics)
            lse[part] = z.logsumexp(-1)
            logp[part] = z.gather(-1, targets[part, None])[:, 0] - lse[part]
            if with_entropy:
                p = (z - lse[part, None]).exp_()
                entropy[part] = lse[part] - torch.linalg.vecdot(p, z)
        ctx.save_for_backward(hidden, weight, bias, targets, lse, entropy)
        ctx.set_materialize_grads(False)  # an entropy that nobody differentiates costs nothing
        ctx.temperature, ctx.softcap = temperature, softcap
        ctx.chunk, ctx.with_entropy, ctx.statistics = chunk, with_entropy, statistics
        if not with_entropy:
            ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        grad_logp, grad_entropy = gradients
        hidden, weight, bias, targets, lse, entropy = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
        for start in range(0, hidden.shape[0], ctx.chunk):
            part = slice(start, min(start + ctx.chunk, hidden.shape[0]))
            z = _chunk_logits(hidden[part], weight, bias, ctx.temperature, ctx.softcap, ctx.statistics)
            slope = None if ctx.softcap is None else 1 - (z * (ctx.temperature / ctx.softcap)).square_()
            log_p = z.sub_(lse[part, None])
            towards = torch.zeros_like(lse[part, None]) if grad_logp is None else grad_logp[part, None]
            if ctx.with_entropy and grad_entropy is not None:
                dz = log_p.exp().mul_(-towards - grad_entropy[part, None] * (log_p + entropy[part, None]))
            else:
                dz = log_p.exp_().mul_(-towards)
            dz.scatter_add_(-1, targets[part, None], towards.to(dz.dtype))
            if slope is not None:
                dz *= slope
            dz = (dz / ctx.temperature if ctx.temperature != 1.0 else dz).to(weight.dtype)
            if grad_hidden is not None:
                grad_hidden[part] = (dz @ weight).to(hidden.dtype)
            if grad_weight is not None:
                grad_weight += dz.T @ hidden[part].to(weight.dtype)
            if grad_bias is not None:
                grad_bias += dz.sum(0)
        return grad_hidden, grad_weight, grad_bias, None, None, None, None, None


def head_logprob(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    softcap: float | None = None,
    chunk: int = 128,
    with_entropy: bool = True,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy (nats) of its distribution, from hidden states.

    hidden [N, D], weight [V, D] (the output head), targets [N] -> two tensors [N] in at least float32.
    `with_entropy=False` saves a pass over the logits; entropies are then 0 and carry no gradient.
    Both are of the distribution that is sampled from: the softmax of logits / temperature, where `softcap` bounds the logits
    first: softcap * tanh(logit / softcap) (Gemma 2, arXiv 2408.00118, section 2).
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive where log-probabilities are taken, not {temperature}")
    logp, entropy = _HeadLogprob.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, temperature, softcap, chunk, with_entropy
    )
    return logp, entropy
