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


def _normalised(x: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(x / rms(x) in `dtype`, 1 / rms(x) [N, 1] in at least float32), where rms(x)^2 = mean(x^2) + eps.

    Of float64 it is taken in float32, as transformers and the engine do: the three then agree to 1e-10.
    """
    if x.dtype == torch.float64:
        low = x.float()
        inverse = torch.rsqrt(low.square().mean(-1, keepdim=True) + eps)
        return (low * inverse).to(dtype), inverse.double()
    exact = torch.promote_types(x.dtype, torch.float32)
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact).square_()
    inverse = square.div_(x.shape[-1]).add_(eps).rsqrt_()
    return torch.mul(x, inverse if x.dtype == exact else inverse.to(x.dtype)).to(dtype), inverse


def _norm_backward(
    normed: Tensor, inverse: Tensor, weight: Tensor, grad: Tensor, needs_weight: bool, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Gradients of x (in `dtype`) and of the weight, for y = weight * x / rms(x): with g = weight * grad and n = x / rms(x),

    dx = (g - n mean(g n)) / rms(x)
    """
    exact = torch.promote_types(grad.dtype, torch.float32)
    grad_weight = (grad * normed).sum(0, dtype=exact) if needs_weight else None
    g = grad * weight.to(grad.dtype)
    along = torch.linalg.vecdot(g.to(exact), normed.to(exact)).div_(-normed.shape[-1])[:, None]
    return torch.addcmul(g.to(exact), normed.to(exact), along).mul_(inverse).to(dtype), grad_weight


class Norm(torch.autograd.Function):
    """RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467): y = weight * x / rms(x), in the dtype of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        normed, _ = _normalised(x, eps, x.dtype)
        ctx.save_for_backward(x, weight)
        ctx.eps = eps
        return normed.mul_(weight.to(x.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        normed, inverse = _normalised(x, ctx.eps, x.dtype)
        grad_x, grad_weight = _norm_backward(normed, inverse, weight, gradients[0], ctx.needs_input_grad[1], x.dtype)
        return grad_x, grad_weight, None


class Project(torch.autograd.Function):
    """RMSNorm, where a weight is given for it, and then several linear maps of the same input; keeps the input alone."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, norm: Tensor | None, eps: float, linears: tuple[Linear, ...], *_: Any
    ) -> tuple[Tensor, ...]:
        dtype = linears[0].weight.dtype
        given = x.to(dtype) if norm is None else _normalised(x, eps, dtype)[0].mul_(norm.to(dtype))
        ctx.save_for_backward(x, norm)
        ctx.eps, ctx.linears = eps, linears
        return tuple(_apply(given, linear) for linear in linears)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        x, norm = ctx.saved_tensors
        linears, needs = ctx.linears, ctx.needs_input_grad
        dtype = linears[0].weight.dtype
        normed = inverse = None
        given = x.to(dtype)
        if norm is not None:
            normed, inverse = _normalised(x, ctx.eps, dtype)
            given = normed * norm.to(dtype)
        towards: Tensor | None = None
        found: list[Tensor | None] = []
        for i, (linear, grad) in enumerate(zip(linears, gradients, strict=True)):
            found += _backward(given, grad, linear, needs[4 + PARTS * i : 4 + PARTS * (i + 1)])
            towards = _towards(grad, linear, towards) if needs[0] or needs[1] else None
        grad_x, grad_norm = towards, None
        if norm is not None and normed is not None and inverse is not None and towards is not None:
            grad_x, grad_norm = _norm_backward(normed, inverse, norm, towards, needs[1], x.dtype)
        return grad_x.to(x.dtype) if grad_x is not None else None, grad_norm, None, None, *found


class GatedDown(torch.autograd.Function):
    """y = W_down (silu(gate) * up), silu(z) = z sigmoid(z) (Shazeer 2020, arXiv 2002.05202); keeps gate and up alone."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, linear: Linear, *_: Any) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.linear = linear
        return _apply(torch.nn.functional.silu(gate).mul_(up), linear)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        opened = torch.nn.functional.silu(gate)
        found = _backward(opened * up, gradients[0], ctx.linear, ctx.needs_input_grad[3:])
        inside = _towards(gradients[0], ctx.linear, None)
        grad_up = opened.mul_(inside)
        return torch.ops.aten.silu_backward(inside.mul_(up), gate), grad_up, None, *found


class Turn(torch.autograd.Function):
    """Rotary positions (Su et al. 2021, arXiv 2104.09864): x [N, H, D], cosine and sine [N, 1, D / 2] -> [N, H, D].

    Halves (a, b) of a head become (a cos - b sin, b cos + a sin); the gradient is turned back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.angles = cosine, sine
        return _turned(x, cosine, sine)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        cosine, sine = ctx.angles
        return _turned(gradients[0], cosine, -sine), None, None


def _turned(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    out = torch.empty_like(x)
    (a, b), (c, d) = x.chunk(2, -1), out.chunk(2, -1)
    torch.mul(a, cosine, out=c).addcmul_(b, sine, value=-1)
    torch.mul(b, cosine, out=d).addcmul_(a, sine)
    return out
