"""The steps of a decoder layer with gradients of their own: few passes over memory, and little kept for the backward pass.

Products run in `Linear.weight`'s dtype (bf16 where the machine has units for it), sums over features or tokens in at least
float32. Frozen weights get no gradient, and a normalised input or a gated product is made again in the backward pass
instead of being kept. All is written for tokens in rows: x [N, D].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from plaudit.models.passes import Passes

Tensor = torch.Tensor


@dataclass(frozen=True)
class Linear:
    """y = x W^T + b, and with LoRA (Hu et al. 2021, arXiv 2106.09685) + scale (x A^T) B^T, x after dropout there.

    weight  W [O, I] in the dtype that is computed in; bias b [O], or None
    masters  the tensors that gradients are for: W and b themselves where they are trained
    down, up  A [r, I] and B [O, r] as they are stored, or None
    """

    weight: Tensor
    bias: Tensor | None
    masters: tuple[Tensor, Tensor | None]
    down: Tensor | None = None
    up: Tensor | None = None
    scale: float = 1.0
    dropped: Callable[[Tensor], Tensor | None] | None = None
    """Dropout before A: of x the mask that it is multiplied with."""

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """What autograd is told of: W, b, A, B."""
        return (*self.masters, self.down, self.up)

    def mask(self, x: Tensor) -> Tensor | None:
        """Of the dropout before A; None where nothing is dropped."""
        return None if self.dropped is None else self.dropped(x)


PARTS = 4
"""Tensors of each linear map that autograd is told of."""


def _apply(x: Tensor, linear: Linear) -> Tensor:
    w = linear.weight
    y = torch.mm(x, w.T) if linear.bias is None else torch.addmm(linear.bias, x, w.T)
    if linear.down is not None and linear.up is not None:
        mask = linear.mask(x)
        h = torch.mm(x if mask is None else x * mask, linear.down.to(w.dtype).T)
        y.addmm_(h, linear.up.to(w.dtype).T, alpha=linear.scale)
    return y


def _backward(x: Tensor, grad: Tensor, linear: Linear, needs: Sequence[bool]) -> list[Tensor | None]:
    """Gradients of (W, b, A, B) where they are needed."""
    dtype = linear.weight.dtype
    found: list[Tensor | None] = [None] * PARTS
    if needs[0]:
        found[0] = torch.mm(grad.T, x)
    if needs[1]:
        found[1] = grad.sum(0, dtype=torch.promote_types(dtype, torch.float32))
    if linear.down is not None and linear.up is not None:
        mask = linear.mask(x)
        x = x if mask is None else x * mask
        if needs[2]:
            found[2] = torch.mm(torch.mm(grad, linear.up.to(dtype)).mul_(linear.scale).T, x)
        if needs[3]:  # the thin factor is the one that is turned: turning the gradient itself would cost as much as the product
            found[3] = torch.mm(torch.mm(x, linear.down.to(dtype).T).mul_(linear.scale).T, grad).T
    return found


def _towards(grad: Tensor, linear: Linear, before: Tensor | None) -> Tensor:
    """The gradient of a map's input, added to what other maps of the same input gave `before`."""
    made = torch.mm(grad, linear.weight) if before is None else before.addmm_(grad, linear.weight)
    if linear.down is not None and linear.up is not None:
        dtype = linear.weight.dtype
        through, a = torch.mm(grad, linear.up.to(dtype)), linear.down.to(dtype)
        mask = linear.mask(made)
        if mask is None:
            return made.addmm_(through, a, alpha=linear.scale)
        made.addcmul_(torch.mm(through, a), mask, value=linear.scale)
    return made


class Norm(torch.autograd.Function):
    """RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467): y = weight * x / rms(x), in the dtype of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, passes: Passes) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.eps, ctx.passes = eps, passes
        return passes.norm(x, weight, eps, x.dtype)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        _, kept = ctx.passes.norm(x, weight, ctx.eps, x.dtype)
        grad_x, grad_weight = ctx.passes.norm_back(x, weight, ctx.eps, gradients[0], kept, ctx.needs_input_grad[1])
        return grad_x, grad_weight, None, None


class Project(torch.autograd.Function):
    """RMSNorm, where a weight is given for it, and then several linear maps of the same input; keeps the input alone."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: Tensor | None, eps: float, passes: Passes, linears: tuple[Linear, ...], *_: Any
    ) -> tuple[Tensor, ...]:
        dtype = linears[0].weight.dtype
        given = x.to(dtype) if norm is None else passes.norm(x, norm, eps, dtype)[0]
        ctx.save_for_backward(x, norm)
        ctx.eps, ctx.passes, ctx.linears = eps, passes, linears
        return tuple(_apply(given, linear) for linear in linears)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        x, norm = ctx.saved_tensors
        linears, needs, passes = ctx.linears, ctx.needs_input_grad, ctx.passes
        dtype, kept = linears[0].weight.dtype, None
        if norm is None:
            given = x.to(dtype)
        else:
            given, kept = passes.norm(x, norm, ctx.eps, dtype)
        towards: Tensor | None = None
        found: list[Tensor | None] = []
        for i, (linear, grad) in enumerate(zip(linears, gradients, strict=True)):
            found += _backward(given, grad, linear, needs[5 + PARTS * i : 5 + PARTS * (i + 1)])
            towards = _towards(grad, linear, towards) if needs[0] or needs[1] else None
        grad_x, grad_norm = towards, None
        if norm is not None and towards is not None:
            grad_x, grad_norm = passes.norm_back(x, norm, ctx.eps, towards, kept, needs[1])
        return grad_x.to(x.dtype) if grad_x is not None else None, grad_norm, None, None, None, *found


class GatedDown(torch.autograd.Function):
    """y = W_down (silu(gate) * up) (Shazeer 2020, arXiv 2002.05202); keeps gate and up alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, passes: Passes, linear: Linear, *_: Any) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.passes, ctx.linear = passes, linear
        return _apply(passes.gate(gate, up), linear)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        product, grad_gate, grad_up = ctx.passes.gate_back(gate, up, _towards(gradients[0], ctx.linear, None))
        return grad_gate, grad_up, None, None, *_backward(product, gradients[0], ctx.linear, ctx.needs_input_grad[4:])


class Turn(torch.autograd.Function):
    """Rotary positions (Su et al. 2021, arXiv 2104.09864): x [N, H, D], cosine and sine [N, 1, D / 2] -> [N, H, D].

    Halves (a, b) of a head become (a cos - b sin, b cos + a sin); the gradient is turned back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor, passes: Passes) -> Tensor:
        ctx.angles, ctx.passes = (cosine, sine), passes
        return passes.turn(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        return ctx.passes.turn(gradients[0], *ctx.angles, sign=-1.0), None, None, None
