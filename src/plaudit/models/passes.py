"""What a decoder layer does beside its matrix products where it is trained: norms, gates, rotary angles, causal softmax.

`Passes` says it in torch, for any device and dtype; `Compiled` does the same in one pass over memory each (passes.cpp), on a
CPU, in bfloat16 and float32. Tests hold the two equal. All take what can be read as rows of numbers that lie together.
"""

from __future__ import annotations

import ctypes
from ctypes import c_double, c_int, c_long, c_void_p
from pathlib import Path
from typing import Any

import torch

from plaudit.models import native
from plaudit.models.products import Products, Tiled, tiled

Tensor = torch.Tensor
SOURCE = Path(__file__).with_name("passes.cpp")
NORMS = {
    "norm": (c_void_p,) * 3 + (c_long,) * 2 + (c_double, c_int),
    "norm_back": (c_void_p,) * 5 + (c_long,) * 2 + (c_double, c_int),
}
NORM_TYPES = ("float32_float32", "float32_bfloat16", "bfloat16_bfloat16")
"""Of the residual stream, and what is computed in."""
OTHERS = {
    "gate": (c_void_p,) * 3 + (c_long, c_int),
    "gate_back": (c_void_p,) * 5 + (c_long, c_int),
    "turn": (c_void_p,) * 4 + (c_long,) * 3 + (c_double, c_int),
    "softmax": (c_void_p, c_long, c_long, c_long, c_int),
    "softmax_back": (c_void_p,) * 2 + (c_long, c_long, c_long, c_int),
}
TYPES = ("float32", "bfloat16")
BLOCK = 64
"""Rows whose part of a weight's gradient is summed at once, as in numbers.h."""


def library() -> ctypes.CDLL | None:
    """passes.cpp, compiled: `<name>_<types>`; None without a compiler."""
    return native.library(SOURCE, "training", _functions)


def _functions() -> dict[str, tuple[Any, ...]]:
    norms = {f"{name}_{kind}": arguments for name, arguments in NORMS.items() for kind in NORM_TYPES}
    return norms | {f"{name}_{kind}": arguments for name, arguments in OTHERS.items() for kind in TYPES}


KERNELS = ("torch", "compiled", "tiled")
"""What training may take: torch alone; passes compiled for a CPU; with them matrix products, attention, log-probabilities and
whole layers on its matrix units, in bfloat16."""
_chosen = {"kernels": "tiled"}


def use(kernels: str) -> bool:
    """Take these kernels, where they serve, in this process, and no later ones of `KERNELS`; False where they cannot be had."""
    _chosen["kernels"] = kernels
    return in_use(torch.device("cpu")) == kernels


def in_use(device: torch.device) -> str:
    """The last of `KERNELS` that bfloat16 takes there."""
    found = passes_for(device, torch.bfloat16)
    return found.products.name if isinstance(found.products, Tiled) else found.name


def passes_for(device: torch.device, dtype: torch.dtype) -> Passes:
    """Compiled where that serves (a CPU, a compiler, no float64) and is not switched off, else torch's."""
    level = KERNELS.index(_chosen["kernels"])
    found = library() if level and device.type == "cpu" and dtype in (torch.bfloat16, torch.float32) else None
    if found is None:
        return Passes()
    return Compiled(found, tiled() if level > 1 and dtype == torch.bfloat16 else None)


class Passes:
    """In torch, rounding as transformers does. float64 keeps the norm's inverse in float32, as transformers and the engine."""

    name = "torch"

    def __init__(self, products: Products | None = None) -> None:
        self.products = products or Products()
        """What matrix products are made with."""

    def norm(self, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Any]:
        """(weight * x / rms(x) in `dtype`, what `norm_back` wants of it), where rms(x)^2 = mean(x^2) + eps; x [N, D]."""
        kept = _normalised(x, eps, dtype)
        return kept[0] * weight.to(dtype), kept

    def norm_back(
        self, x: Tensor, weight: Tensor, eps: float, grad: Tensor, kept: Any, needs_weight: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients of x, in its dtype, and of the weight: with g = weight * grad and n = x / rms(x),

        dx = (g - n mean(g n)) / rms(x)
        """
        normed, inverse = kept
        exact = torch.promote_types(grad.dtype, torch.float32)
        grad_weight = (grad * normed).sum(0, dtype=exact) if needs_weight else None
        g = grad * weight.to(grad.dtype)
        along = torch.linalg.vecdot(g.to(exact), normed.to(exact)).div_(-normed.shape[-1])[:, None]
        return torch.addcmul(g.to(exact), normed.to(exact), along).mul_(inverse).to(x.dtype), grad_weight

    def gate(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up, with silu(z) = z sigmoid(z)."""
        return torch.nn.functional.silu(gate).mul_(up)

    def gate_back(self, gate: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(silu(gate) * up once more, gradient of gate, gradient of up); `grad` is overwritten."""
        opened = torch.nn.functional.silu(gate)
        product = opened * up
        grad_up = opened.mul_(grad)
        return product, torch.ops.aten.silu_backward(grad.mul_(up), gate), grad_up

    def turn(self, x: Tensor, cosine: Tensor, sine: Tensor, sign: float = 1.0) -> Tensor:
        """Halves (a, b) of each head become (a cos - sign b sin, b cos + sign a sin): x [N, H, D], angles [N, 1, D / 2]."""
        out = torch.empty_like(x)
        (a, b), (c, d) = x.chunk(2, -1), out.chunk(2, -1)
        torch.mul(a, cosine, out=c).addcmul_(b, sine, value=-sign)
        torch.mul(b, cosine, out=d).addcmul_(a, sine, value=sign)
        return out

    def softmax(self, scores: Tensor, causal: Tensor) -> Tensor:
        """Of scores [M, H, W], which may be overwritten, a softmax of each row's places up to the row's own, 0 behind it.

        The rows are the last H of the W places; causal [H, W] is 0 where they look and -inf behind.
        """
        return scores.add_(causal).softmax(-1)

    def softmax_back(self, weights: Tensor, grad: Tensor) -> Tensor:
        """P (grad - sum(P grad)) of such a softmax P [M, H, W]; grad may be overwritten."""
        return torch._softmax_backward_data(grad, weights, -1, weights.dtype)


def _normalised(x: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(x / rms(x) in `dtype`, 1 / rms(x) [N, 1] in at least float32)."""
    if x.dtype == torch.float64:
        low = x.float()
        inverse = torch.rsqrt(low.square().mean(-1, keepdim=True) + eps)
        return (low * inverse).to(dtype), inverse.double()
    exact = torch.promote_types(x.dtype, torch.float32)
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact).square_()
    inverse = square.div_(x.shape[-1]).add_(eps).rsqrt_()
    return torch.mul(x, inverse if x.dtype == exact else inverse.to(x.dtype)).to(dtype), inverse


class Compiled(Passes):
    """The same by passes.cpp, with sums and whatever lies between in float32. The number of threads changes nothing."""

    name = "compiled"

    def __init__(self, found: ctypes.CDLL, products: Products | None = None) -> None:
        super().__init__(products)
        self._library = found

    def _run(self, name: str, kinds: tuple[torch.dtype, ...], *arguments: Any) -> None:
        """Call a kernel with tensors, numbers, and the threads that torch takes."""
        kind = "_".join(str(dtype).removeprefix("torch.") for dtype in kinds)
        given = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        getattr(self._library, f"{name}_{kind}")(*given, torch.get_num_threads())

    def norm(self, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> tuple[Tensor, Any]:
        x, weight = x.contiguous(), weight.float().contiguous()
        out = torch.empty(x.shape, dtype=dtype)
        self._run("norm", (x.dtype, dtype), x, weight, out, *x.shape, eps)
        return out, None

    def norm_back(
        self, x: Tensor, weight: Tensor, eps: float, grad: Tensor, kept: Any, needs_weight: bool
    ) -> tuple[Tensor, Tensor | None]:
        x, grad, weight = x.contiguous(), grad.contiguous(), weight.float().contiguous()
        out, (rows, size) = torch.empty_like(x), x.shape
        part = torch.empty(-(-rows // BLOCK), size) if needs_weight else None
        self._run("norm_back", (x.dtype, grad.dtype), x, weight, grad, out, part, rows, size, eps)
        return out, None if part is None else part.sum(0)

    def gate(self, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        out = torch.empty_like(gate)
        self._run("gate", (gate.dtype,), gate, up, out, gate.numel())
        return out

    def gate_back(self, gate: Tensor, up: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gate, up, grad = gate.contiguous(), up.contiguous(), grad.contiguous()
        product, grad_gate = torch.empty_like(gate), torch.empty_like(gate)
        self._run("gate_back", (gate.dtype,), gate, up, grad, product, grad_gate, gate.numel())
        return product, grad_gate, grad

    def turn(self, x: Tensor, cosine: Tensor, sine: Tensor, sign: float = 1.0) -> Tensor:
        x, cosine, sine = x.contiguous(), cosine.contiguous(), sine.contiguous()
        out, (rows, heads, size) = torch.empty_like(x), x.shape
        self._run("turn", (x.dtype,), x, cosine, sine, out, rows, heads, size // 2, sign)
        return out

    def softmax(self, scores: Tensor, causal: Tensor) -> Tensor:
        (rows, height, width) = scores.shape
        self._run("softmax", (scores.dtype,), scores, rows * height, height, width)
        return scores

    def softmax_back(self, weights: Tensor, grad: Tensor) -> Tensor:
        (rows, height, width) = grad.shape
        self._run("softmax_back", (grad.dtype,), weights, grad, rows * height, height, width)
        return grad
