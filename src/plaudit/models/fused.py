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
from plaudit.models.products import Products, Sum

Tensor = torch.Tensor


@dataclass(frozen=True)
class Linear:
    """y = x W^T + b, and with LoRA (Hu et al. 2021, arXiv 2106.09685) + scale (x A^T) B^T, x after dropout there.

    weight  W [O, I] in the dtype that is computed in; bias b [O], or None
    masters  the tensors that gradients are for, as they are stored: W, b, A and B, None where there is none
    down, up  A [r, I] and B [O, r] in the dtype that is computed in, or None
    """

    weight: Tensor
    bias: Tensor | None
    masters: tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]
    down: Tensor | None = None
    up: Tensor | None = None
    scale: float = 1.0
    collecting: bool = False
    """The backward pass adds the gradient of W to what stands in its `grad`, and autograd is told of none."""
    dropped: Callable[[Tensor], Tensor | None] | None = None
    """Dropout before A: of x the mask that it is multiplied with."""

    def mask(self, x: Tensor) -> Tensor | None:
        """Of the dropout before A; None where nothing is dropped."""
        return None if self.dropped is None else self.dropped(x)


PARTS = 4
"""Tensors of each linear map that autograd is told of."""
Linears = tuple[Linear, ...]
"""Maps of the same input. Their adapters are thin, and a product of sixteen columns costs nearly what one of forty-eight does:
so the A of all of them stand below one another, where nothing is dropped."""


def _masks(x: Tensor, linears: Linears) -> list[Tensor | None]:
    """Of each map with an adapter."""
    return [linear.mask(x) for linear in linears if linear.down is not None]


def _together(linears: Linears, masks: list[Tensor | None]) -> Tensor | None:
    """The A of all adapters below one another, [sum of r, I]; None where there is none, or each has an input of its own."""
    found = [linear.down for linear in linears if linear.down is not None]
    if not found or any(mask is not None for mask in masks):
        return None
    return found[0] if len(found) == 1 else torch.cat(found)


def _lowered(
    x: Tensor, linears: Linears, masks: list[Tensor | None], together: Tensor | None, products: Products
) -> list[Tensor]:
    """scale x A^T [N, r] of each adapter."""
    adapted = [(linear.down, linear.scale) for linear in linears if linear.down is not None]
    scales = {scale for _, scale in adapted}
    if together is not None and len(scales) == 1:
        return list(products.total((x, together.T), scale=scales.pop()).split([len(down) for down, _ in adapted], 1))
    given = [x if mask is None else x * mask for mask in masks]
    return [products.total((one, down.T), scale=scale) for one, (down, scale) in zip(given, adapted, strict=True)]


def _apply(x: Tensor, linears: Linears, products: Products) -> tuple[Tensor, ...]:
    """y [N, O] of each map."""
    masks = _masks(x, linears)
    lowered = iter(_lowered(x, linears, masks, _together(linears, masks), products))
    sums = []
    for linear in linears:
        more = [] if linear.up is None else [(next(lowered), linear.up.T)]
        sums.append(Sum([(x, linear.weight.T), *more], linear.bias))
    return tuple(products.totals(sums))


@dataclass(frozen=True)
class _Back:
    """What comes back through maps of one input x: `grads` [N, O] of each.

    With t_i = scale_i g_i B_i [N, r]: dx = sum g_i W_i + t_i A_i, dA_i = t_i^T x, dB_i = scale_i g_i^T (x A_i^T).
    """

    linears: Linears
    grads: Sequence[Tensor]
    masks: list[Tensor | None]
    together: Tensor | None
    lifted: list[Tensor]
    """t of each adapter."""
    products: Products

    @classmethod
    def of(cls, like: Tensor, linears: Linears, grads: Sequence[Tensor], products: Products) -> _Back:
        """`like`: x, or what has its shape and dtype: masks are drawn for it."""
        masks = _masks(like, linears)
        pairs = zip(linears, grads, strict=True)
        sums = [Sum([(grad, linear.up)], scale=linear.scale) for linear, grad in pairs if linear.up is not None]
        return cls(linears, grads, masks, _together(linears, masks), products.totals(sums), products)

    def towards(self) -> Tensor:
        """dx."""
        pairs = [(grad, linear.weight) for linear, grad in zip(self.linears, self.grads, strict=True)]
        if self.together is not None:
            return self.products.total(*pairs, (self._side_by_side(), self.together))
        made = self.products.total(*pairs)
        downs = [linear.down for linear in self.linears if linear.down is not None]
        for lifted, down, mask in zip(self.lifted, downs, self.masks, strict=True):
            through = self.products.total((lifted, down))
            made.add_(through) if mask is None else made.addcmul_(through, mask)
        return made

    def weights(self, x: Tensor, needs: Sequence[bool]) -> list[Tensor | None]:
        """Gradients of (W, b, A, B) of each map where they are needed, one after another."""
        products = self.products
        adapted = [i for i, linear in enumerate(self.linears) if linear.down is not None]
        downs = dict(zip(adapted, self._downs(x), strict=True)) if any(needs[PARTS * i + 2] for i in adapted) else {}
        lowered: dict[int, Tensor] = {}
        if any(needs[PARTS * i + 3] for i in adapted):
            lowered = dict(zip(adapted, _lowered(x, self.linears, self.masks, self.together, products), strict=True))
        found: list[Tensor | None] = []
        for i, grad in enumerate(self.grads):
            w, b, _, up = needs[PARTS * i : PARTS * (i + 1)]
            if w and self.linears[i].collecting:
                products.collect(self.linears[i].masters[0], grad.T, x)
                w = False
            found.append(products.total((grad.T, x)) if w else None)
            found.append(grad.sum(0, dtype=torch.promote_types(grad.dtype, torch.float32)) if b else None)
            found.append(downs.get(i))
            # the thin factor is the one that is turned: turning the gradient itself would cost as much as the product
            found.append(products.total((lowered[i].T, grad)).T if up else None)
        return found

    def _downs(self, x: Tensor) -> list[Tensor]:
        """dA of each adapter."""
        if self.together is not None:
            made = self.products.total((self._side_by_side().T, x))
            return list(made.split([lifted.shape[1] for lifted in self.lifted]))
        given = [x if mask is None else x * mask for mask in self.masks]
        return [self.products.total((lifted.T, one)) for lifted, one in zip(self.lifted, given, strict=True)]

    def _side_by_side(self) -> Tensor:
        return self.lifted[0] if len(self.lifted) == 1 else torch.cat(self.lifted, 1)


class Embed(torch.autograd.Function):
    """Rows of a table [V, D] by their numbers; the gradient is added to the rows of `table.grad` alone.

    Those of `padding` get none, as with torch's own.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, padding: int | None) -> Tensor:
        ctx.table, ctx.ids, ctx.padding = table, ids, padding
        return torch.nn.functional.embedding(ids, table)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        table, ids, grad = ctx.table, ctx.ids.flatten(), gradients[0].flatten(0, -2)
        if ctx.padding is not None:
            ids, grad = ids[ids != ctx.padding], grad[ids != ctx.padding]
        if table.grad is None:
            table.grad = torch.zeros_like(table)
        table.grad.index_add_(0, ids, grad.to(table.dtype))
        return None, None, None


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
        return _apply(given, linears, passes.products)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        x, norm = ctx.saved_tensors
        linears, needs, passes = ctx.linears, ctx.needs_input_grad, ctx.passes
        dtype, kept = linears[0].weight.dtype, None
        if norm is None:
            given = x.to(dtype)
        else:
            given, kept = passes.norm(x, norm, ctx.eps, dtype)
        back = _Back.of(given, linears, gradients, passes.products)
        found = back.weights(given, needs[5:])
        towards = back.towards() if needs[0] or needs[1] else None
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
        return _apply(passes.gate(gate, up), (linear,), passes.products)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        back = _Back.of(gate, (ctx.linear,), gradients, ctx.passes.products)
        product, grad_gate, grad_up = ctx.passes.gate_back(gate, up, back.towards())
        return grad_gate, grad_up, None, None, *back.weights(product, ctx.needs_input_grad[4:])


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
