"""Log-probabilities from hidden states on a CPU with matrix units: `core.logprob.head_logprob` with few passes over the logits.

It serves bfloat16 and heads without bias and softcap; `serves` says so. Blocks of words are taken one after another with a
running maximum, as there.
"""

from __future__ import annotations

import ctypes
import math
from ctypes import c_double, c_int, c_long, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from plaudit.core.logprob import head_logprob
from plaudit.models import native
from plaudit.models.passes import passes_for
from plaudit.models.products import Tiled

Tensor = torch.Tensor
SOURCE = Path(__file__).with_name("head.cpp")
FUNCTIONS = {
    "fold": (c_void_p, c_void_p, *(c_long,) * 3, c_double, *(c_void_p,) * 5, c_long, c_int),
    "slope": (c_void_p, c_void_p, *(c_long,) * 3, c_double, *(c_void_p,) * 4, c_int),
}
WORDS = 1024
"""Words whose logits exist at one time."""


@cache
def library() -> ctypes.CDLL | None:
    """head.cpp, compiled; None without a compiler."""
    return native.library(SOURCE, "training", lambda: FUNCTIONS)


def serves(computed: Tensor | None, bias: Tensor | None, softcap: float | None) -> Tiled | None:
    """What makes the products where a head with this weight is for this module; else None."""
    if computed is None or computed.dtype != torch.bfloat16 or bias is not None or softcap is not None:
        return None
    products = passes_for(computed.device, computed.dtype).products
    return products if isinstance(products, Tiled) and library() is not None else None


def logprob(
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
    """`head_logprob`, by the kernels where they serve: then entropies are there in any case."""
    products = serves(computed, bias, softcap) if temperature > 0 else None
    if products is not None:
        how = _How(products, 1 / temperature, chunk, collecting)
        return _Logprob.apply(hidden, weight, targets, computed, how)  # type: ignore[no-untyped-call, no-any-return]
    settings: dict[str, Any] = {"bias": bias, "temperature": temperature, "softcap": softcap, "chunk": chunk}
    return head_logprob(
        hidden, weight, targets, **settings, with_entropy=with_entropy, computed=computed, collecting=collecting
    )


@dataclass(frozen=True)
class _How:
    """products; heat: 1 / temperature; chunk: tokens that are taken together; collecting as in `head_logprob`."""

    products: Tiled
    heat: float
    chunk: int
    collecting: bool


class _Logprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, computed: Tensor, how: _How
    ) -> tuple[Tensor, Tensor]:
        low, targets = hidden.to(torch.bfloat16).contiguous(), targets.contiguous()
        wants = ctx.needs_input_grad[0]
        pieces = zip(low.split(how.chunk), targets.split(how.chunk), strict=True)
        found = [_chunk(part, computed, own, how, wants) for part, own in pieces]
        logp, entropy, lse = (torch.cat([one[i] for one in found]) for i in range(3))
        towards = torch.cat([one[3] for one in found]) if wants else None
        ctx.save_for_backward(low, computed, targets, lse, entropy, towards)
        ctx.weight, ctx.how, ctx.dtype = weight, how, hidden.dtype
        ctx.collecting = how.collecting and weight.is_leaf and weight.dtype == torch.float32
        ctx.set_materialize_grads(False)  # an entropy that nobody differentiates costs nothing
        return logp, entropy

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        low, computed, targets, lse, entropy, towards = ctx.saved_tensors
        chunk = ctx.how.chunk
        grad, way = (None if one is None else one.float().contiguous() for one in gradients)
        grad = torch.zeros_like(lse) if grad is None else grad
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        stands, grad_hidden, total = ctx.weight.grad, None, None
        collects = ctx.collecting and needs_weight and (stands is None or stands.is_contiguous())
        if needs_hidden:
            grad_hidden = torch.zeros(low.shape) if way is not None else grad[:, None] * towards
        if needs_weight:
            total = torch.zeros(ctx.weight.shape) if stands is None or not collects else stands
        for start in range(0, len(low), chunk) if needs_weight or way is not None else ():
            part = slice(start, start + chunk)
            back = _Back(low[part], targets[part], lse[part], entropy[part], grad[part], None if way is None else way[part])
            through = grad_hidden[part] if grad_hidden is not None and way is not None else None
            back.add(computed, ctx.how, through, total)
        if collects:
            ctx.weight.grad, total = total, None
        first, second = (None if x is None else x.to(kind) for x, kind in ((grad_hidden, ctx.dtype), (total, ctx.weight.dtype)))
        return first, second, None, None, None


def _call(name: str, *arguments: Any) -> None:
    found = library()
    assert found is not None
    given = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    getattr(found, name)(*given, torch.get_num_threads())


def _chunk(hidden: Tensor, weight: Tensor, targets: Tensor, how: _How, wants: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of one chunk: logp, entropy, lse [N], and d logp / d hidden [N, D] where that is wanted (`core.logprob._chunk`)."""
    count, width = hidden.shape
    m = torch.full((count,), -math.inf)
    s, u, chosen = (torch.zeros(count) for _ in range(3))
    a = torch.zeros(count, width) if wants else None
    for first in range(0, len(weight), WORDS):
        words = weight[first : first + WORDS]
        z = how.products.total((hidden, words.T))
        _call("fold", z, targets, count, len(words), first, how.heat, m, s, u, chosen, a, width)
        if a is not None:
            how.products.add(a, z, words)
    logs = s.log()
    lse = m + logs
    towards = hidden
    if a is not None:
        towards = weight[targets].float().sub_(a.div_(s[:, None])).mul_(how.heat).to(hidden.dtype)
    return chosen - lse, logs - u / s, lse, towards


@dataclass(frozen=True)
class _Back:
    """Of one chunk: its hidden states, targets, what was found for them, and what comes back (`way`: for entropies)."""

    hidden: Tensor
    targets: Tensor
    lse: Tensor
    entropy: Tensor
    grad: Tensor
    way: Tensor | None

    def add(self, weight: Tensor, how: _How, hidden: Tensor | None, total: Tensor | None) -> None:
        """Add to the gradients of the hidden states [N, D] and of the weight [V, D], those that are given."""
        for first in range(0, len(weight), WORDS):
            words = weight[first : first + WORDS]
            z = how.products.total((self.hidden, words.T))
            place = (len(z), len(words), first, how.heat)
            _call("slope", z, self.targets, *place, self.lse, self.grad, self.way, self.entropy)
            if hidden is not None:
                how.products.add(hidden, z, words)
            if total is not None:
                how.products.add(total[first : first + WORDS], z.T, self.hidden)
