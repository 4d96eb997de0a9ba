"""Log-probabilities and entropies from hidden states, without ever holding [tokens, vocabulary] of a whole batch.

The output head is applied to `chunk` positions and `BLOCK` words at a time, with a running maximum and sum (Milakov and
Gimelshein 2018, arXiv 1805.02867), so memory is chunk x BLOCK, however long the batch and however large the vocabulary. What
hidden states need for their gradient is made in the same pass, so the logits are made again for the head's own gradient only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

Tensor = torch.Tensor
BLOCK = {"cpu": 2048}
"""Words whose logits exist at one time, by the kind of device: on a CPU they stay in its cache."""
WIDE = 1 << 15
"""The same on other devices."""


def token_logprob(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """The plain form, for small inputs: log-probability of `targets` [N] and entropy [N] (nats) from `logits` [N, V]."""
    logp = (logits / temperature).log_softmax(-1)
    return logp.gather(-1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


@dataclass(frozen=True)
class _Head:
    """z = cap(W h + b) / temperature, cap(x) = c tanh(x / c) where there is a softcap c, else x; a block of words at a time."""

    weight: Tensor
    bias: Tensor | None
    temperature: float
    softcap: float | None
    statistics: torch.dtype

    def blocks(self) -> list[slice]:
        """The vocabulary, block by block."""
        size, words = BLOCK.get(self.weight.device.type, WIDE), len(self.weight)
        return [slice(start, min(start + size, words)) for start in range(0, words, size)]

    def logits(self, hidden: Tensor, words: slice) -> Tensor:
        """z [N, B] in `statistics`, of hidden states [N, D]."""
        return self._finished(F.linear(hidden, self.weight[words], None if self.bias is None else self.bias[words]))

    def turned(self, hidden: Tensor, words: slice) -> Tensor:
        """The same, [B, N]."""
        z = F.linear(self.weight[words], hidden)
        return self._finished(z if self.bias is None else z.add_(self.bias[words, None]))

    def slope(self, z: Tensor) -> Tensor | None:
        """cap' at the logits that z was made of: 1 - (cap(x) / c)^2; None is 1."""
        return None if self.softcap is None else 1 - (z * (self.temperature / self.softcap)).square_()

    def _finished(self, z: Tensor) -> Tensor:
        z = z.to(self.statistics)
        if self.softcap is not None:
            z = z.div_(self.softcap).tanh_().mul_(self.softcap)
        return z.div_(self.temperature) if self.temperature != 1.0 else z


def _chunk(
    head: _Head, hidden: Tensor, targets: Tensor, with_entropy: bool, with_gradient: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Of one chunk: logp, entropy, lse [N], and d logp / d hidden [N, D] where that is wanted.

    With m the maximum so far, s = sum exp(z - m), u = sum exp(z - m) (z - m) and a = sum exp(z - m) cap'(x) w; all three
    shrink by exp(m - m') when a larger m' comes. Then lse = m + log s, entropy = log s - u / s, and
    d logp / dh = (cap'(x_t) w_t - a / s) / temperature for the target t.
    """
    count, weight = len(hidden), head.weight
    m = hidden.new_full((count, 1), -math.inf, dtype=head.statistics)
    s, u, chosen = (torch.zeros_like(m) for _ in range(3))
    a = torch.zeros(hidden.shape, dtype=head.statistics, device=hidden.device) if with_gradient else None
    for words in head.blocks():
        z = head.logits(hidden, words)
        slope = head.slope(z) if a is not None else None
        inside = (targets >= words.start) & (targets < words.stop)
        place = (targets - words.start).clamp(0, words.stop - words.start - 1)[:, None]
        chosen = torch.where(inside[:, None], z.gather(1, place), chosen)
        high = torch.maximum(m, z.amax(1, keepdim=True))
        shrink, below = (m - high).exp_(), z.sub_(high)
        if with_entropy:
            e = below.exp()
            u = torch.where(s > 0, u + (m - high) * s, 0.0) * shrink + torch.linalg.vecdot(e, below)[:, None]
        else:
            e = below.exp_()
        s, m = s * shrink + e.sum(1, keepdim=True), high
        if a is not None:
            a.mul_(shrink).add_(torch.mm((e if slope is None else e * slope).to(weight.dtype), weight[words]))
    lse, logs = m + s.log(), s.log()
    towards = None
    if a is not None:
        own = weight[targets].to(head.statistics)
        if head.softcap is not None:
            own *= 1 - (chosen * (head.temperature / head.softcap)) ** 2
        towards = own.sub_(a.div_(s)).div_(head.temperature).to(weight.dtype)
    entropy = (logs - u / s) if with_entropy else torch.zeros_like(logs)
    return (chosen - lse)[:, 0], entropy[:, 0], lse[:, 0], towards


class _HeadLogprob(torch.autograd.Function):
    """logp = z[target] - lse(z), entropy = lse(z) - sum softmax(z) z, with z = cap(hidden W^T + b) / temperature.

    Gradients: d logp / dz = onehot - p and d entropy / dz_j = -p_j (log p_j + entropy), formed block by block.
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
        computed: Tensor | None,
        collecting: bool,
    ) -> tuple[Tensor, Tensor]:
        low = weight if computed is None else computed
        statistics = torch.promote_types(hidden.dtype, torch.float32)
        head = _Head(low, None if bias is None else bias.to(low.dtype), temperature, softcap, statistics)
        given = hidden.to(low.dtype)
        logp, entropy, lse = (hidden.new_zeros(len(hidden), dtype=head.statistics) for _ in range(3))
        towards = torch.empty_like(given) if ctx.needs_input_grad[0] else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, min(start + chunk, len(hidden)))
            found = _chunk(head, given[part], targets[part], with_entropy, towards is not None)
            logp[part], entropy[part], lse[part] = found[:3]
            if towards is not None and found[3] is not None:
                towards[part] = found[3]
        again = ctx.needs_input_grad[1] or ctx.needs_input_grad[2] or with_entropy
        ctx.save_for_backward(hidden if again else None, weight, bias, targets, lse, entropy, towards)
        ctx.set_materialize_grads(False)  # an entropy that nobody differentiates costs nothing
        ctx.head, ctx.chunk, ctx.dtype = head, chunk, hidden.dtype
        ctx.master = weight if collecting and weight.is_leaf and weight.dtype == statistics else None
        if not with_entropy:
            ctx.mark_non_differentiable(entropy)
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        grad_logp, grad_entropy = gradients
        hidden, weight, bias, targets, lse, entropy, towards = ctx.saved_tensors
        head: _Head = ctx.head
        needs = list(ctx.needs_input_grad[:3])
        grad_hidden = None
        if towards is not None and grad_entropy is None and grad_logp is not None:
            grad_hidden = (grad_logp[:, None] * towards).to(ctx.dtype)
            needs[0] = False
        master = ctx.master if needs[1] else None
        if master is not None:
            master.grad = torch.zeros_like(master) if master.grad is None else master.grad
        makes = (needs[0], needs[1] and master is None, needs[2])
        grads = [
            torch.zeros_like(x, dtype=head.statistics) if made else None
            for x, made in zip((hidden, weight, bias), makes, strict=True)
        ]
        if any(needs):
            collected = [grads[0], grads[1] if master is None else master.grad, grads[2]]
            given = hidden.to(head.weight.dtype)
            g = torch.zeros_like(lse) if grad_logp is None else grad_logp
            for start in range(0, len(hidden), ctx.chunk):
                part = slice(start, min(start + ctx.chunk, len(hidden)))
                way = None if grad_entropy is None else (grad_entropy[part], entropy[part])
                _chunk_backward(head, given[part], targets[part], lse[part], g[part], way, part, collected)
        made = (
            None if x is None else x.to(kind) for x, kind in zip(grads, (ctx.dtype, weight.dtype, weight.dtype), strict=True)
        )
        first, *others = made
        return (grad_hidden if first is None else first), *others, *[None] * 7


def _chunk_backward(
    head: _Head,
    hidden: Tensor,
    targets: Tensor,
    lse: Tensor,
    grad_logp: Tensor,
    entropy: tuple[Tensor, Tensor] | None,
    part: slice,
    grads: list[Tensor | None],
) -> None:
    """Adds to the gradients of (hidden, weight, bias) what a chunk gives; `entropy` is (its gradient, itself) or None."""
    grad_hidden, grad_weight, grad_bias = grads
    for words in head.blocks():
        z = head.turned(hidden, words)
        slope = head.slope(z)
        log_p = z.sub_(lse)
        if entropy is not None:
            dz = log_p.exp().mul_(-grad_logp - entropy[0] * (log_p + entropy[1]))
        else:
            dz = log_p.exp_().mul_(-grad_logp)
        own = ((targets >= words.start) & (targets < words.stop)).nonzero()[:, 0]
        dz[targets[own] - words.start, own] += grad_logp[own].to(dz.dtype)
        if slope is not None:
            dz *= slope
        dz = (dz.div_(head.temperature) if head.temperature != 1.0 else dz).to(hidden.dtype)
        if grad_hidden is not None:
            grad_hidden[part] += torch.mm(dz.T, head.weight[words])
        if grad_weight is not None:
            grad_weight[words] += torch.mm(dz, hidden)
        if grad_bias is not None:
            grad_bias[words] += dz.sum(1, dtype=head.statistics)


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
    computed: Tensor | None = None,
    collecting: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy (nats) of its distribution, from hidden states.

    hidden [N, D], weight [V, D] (the output head), targets [N] -> two tensors [N] in at least float32.
    `computed` is the weight in the dtype of the products, where that is another than its own; gradients go to `weight`.
    `collecting`: the backward pass adds the weight's gradient to `weight.grad` itself, and autograd is told of none.
    `with_entropy=False` saves a pass over the logits; entropies are then 0 and carry no gradient.
    Both are of the distribution that is sampled from: the softmax of logits / temperature, where `softcap` bounds the logits
    first: softcap * tanh(logit / softcap) (Gemma 2, arXiv 2408.00118, section 2).
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive where log-probabilities are taken, not {temperature}")
    logp, entropy = _HeadLogprob.apply(  # type: ignore[no-untyped-call]
        hidden, weight, bias, targets, temperature, softcap, chunk, with_entropy, computed, collecting
    )
    return logp, entropy
