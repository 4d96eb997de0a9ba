"""A whole decoder layer in one call forward and one backward, on a processor with matrix units (AMX): layer.cpp.

`Walk.layer` takes it where `serves` says so. The steps of `fused.py`, one by one, are its slow twin: outputs and what
goes back are the same to the last bit. Gradients of weights are added to `grad` in float32 by the backward pass itself, those
of adapters too, which the steps round to bfloat16 before.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import c_double, c_long, c_void_p
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch

from plaudit.models import attention_kernel, native, passes
from plaudit.models.attention_kernel import Standing
from plaudit.models.families import Architecture
from plaudit.models.products import tiled

Tensor = torch.Tensor
SOURCE = Path(__file__).with_name("layer.cpp")
FUNCTIONS = {
    "layer_room": (c_void_p,) * 5,
    "layer": (c_void_p,) * 7 + (ctypes.c_int,),
    "layer_back": (c_void_p,) * 8 + (ctypes.c_int,),
}
TYPES = {torch.bfloat16: "bfloat16", torch.float32: "float32"}
"""Of the residual stream."""
NAMES = ("weight", "down", "up", "bias", "grad_weight", "grad_bias", "grad_down", "grad_up")
Cast = Callable[[Tensor, torch.dtype], Tensor]
Angles = tuple[Tensor, Tensor]
"""Cosine and sine [N, 1, D / 2]."""


@dataclass(frozen=True)
class Stored:
    """A linear map as a model holds it: W, b, A and B of `fused.Linear`, its scale, and the dropout before A."""

    masters: tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]
    scale: float = 1.0
    dropout: Any = None


@dataclass(frozen=True)
class Parts:
    """What one layer of a model is made of.

    layer  the module
    maps   those of queries, keys, values, out, gate, up and down
    norms  weights of the norms before attention and before the MLP
    """

    layer: Any
    maps: tuple[Stored, ...]
    norms: tuple[Tensor, ...]

    @cached_property
    def masters(self) -> list[Tensor]:
        """All that may get a gradient."""
        return [*self.norms, *(master for one in self.maps for master in one.masters if master is not None)]


class _Map(ctypes.Structure):
    """As in layer.h, like those below."""

    _fields_ = (
        *((name, c_void_p) for name in NAMES),
        *((name, c_long) for name in ("inputs", "outputs", "rank", "begun")),
        ("scale", c_double),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("maps", _Map * 7),
        ("norms", c_void_p * 2),
        ("grad_norms", c_void_p * 2),
        *((name, c_long) for name in ("width", "heads", "kv_heads", "size", "inner")),
        ("eps", c_double),
    )


class _Tokens(ctypes.Structure):
    _fields_ = (
        *((name, c_long) for name in ("count", "lines", "width", "repeated")),
        *((name, c_void_p) for name in ("places", "counts", "starts", "again")),
        *((name, c_void_p) for name in ("query_cosine", "query_sine", "key_cosine", "key_sine")),
    )


@dataclass(frozen=True)
class _Library:
    compiled: ctypes.CDLL
    calls: dict[torch.dtype, Any]
    """For each type of the residual stream the addresses of the functions that a layer is made of."""

    def run(self, name: str, dtype: torch.dtype, *arguments: Any) -> None:
        given = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
        getattr(self.compiled, f"{name}_{TYPES[dtype]}")(*given)


@cache
def library() -> _Library | None:
    """layer.cpp, compiled, and what it calls; None where one of them cannot be had."""
    products, passed, attended = tiled(), passes.library(), attention_kernel.library()
    if products is None or passed is None or attended is None:
        return None
    found = native.library(SOURCE, "training", _functions)
    if found is None:
        return None
    calls = {}
    for dtype, name in TYPES.items():
        functions = [products.library.products_bfloat16, products.library.products_float32]
        functions += [getattr(passed, f"{part}_{name}_bfloat16") for part in ("norm", "norm_back")]
        functions += [getattr(passed, f"{part}_bfloat16") for part in ("gate", "gate_back", "turn")]
        functions += [attended.attend, attended.attend_back]
        calls[dtype] = (c_void_p * len(functions))(*(ctypes.cast(one, c_void_p).value for one in functions))
    return _Library(found, calls)


def _functions() -> dict[str, tuple[Any, ...]]:
    return {f"{name}_{kind}": arguments for name, arguments in FUNCTIONS.items() for kind in TYPES.values()}


class Kernel:
    """The layers of one pass: its tokens, and memory that one layer after another uses."""

    def __init__(self, made: Architecture, cast: Cast, query_angles: Angles, key_angles: Angles) -> None:
        """`cast` gives weights in another dtype; angles of queries, scaled, and of keys, in bfloat16."""
        self.made, self.cast = made, cast
        self.angles = tuple(part.contiguous() for part in (*query_angles, *key_angles))
        self._tokens: dict[int, tuple[Standing, _Tokens]] = {}
        self._memory: dict[str, Tensor] = {}

    def tokens(self, standing: Standing) -> _Tokens:
        """The pass's tokens as layer.cpp reads them."""
        if id(standing) not in self._tokens:
            s = standing
            tensors = (s.places, s.counts, s.starts, s.again, *self.angles)
            made = _Tokens(s.tokens, *s.places.shape, len(s.again), *(one.data_ptr() for one in tensors))
            self._tokens[id(standing)] = standing, made
        return self._tokens[id(standing)][1]

    def memory(self, what: str, size: int) -> Tensor:
        """At least so many bytes, which the next layer overwrites."""
        found = self._memory.get(what)
        if found is None or len(found) < size:
            found = self._memory[what] = torch.empty(size, dtype=torch.uint8)
        return found

    def described(self, parts: Parts) -> tuple[_Layer, list[Tensor]]:
        """A layer as layer.cpp reads it, without gradients, and what must live as long."""
        made, found, held = self.made, _Layer(), list[Tensor]()

        def place(stored: Tensor | None, dtype: torch.dtype = torch.bfloat16) -> int | None:
            if stored is None:
                return None
            held.append(self.cast(stored, dtype))
            return held[-1].data_ptr()

        for to, one in zip(found.maps, parts.maps, strict=True):
            weight, bias, down, up = one.masters
            to.weight, to.down, to.up, to.scale = place(weight), place(down), place(up), one.scale
            if bias is not None:
                held.append(self.cast(bias, torch.bfloat16).float())
                to.bias = held[-1].data_ptr()
            (to.outputs, to.inputs), to.rank = weight.shape, 0 if down is None else len(down)
        found.norms[:] = [place(norm, torch.float32) for norm in parts.norms]
        found.width, found.heads, found.kv_heads = len(parts.norms[0]), made.heads, made.kv_heads
        found.size, found.inner, found.eps = made.head_dim, made.inner, made.eps
        return found, held


def _with_gradients(layer: _Layer, parts: Parts) -> None:
    """Those that are wanted are there, to be added to."""
    for to, one in zip(layer.maps, parts.maps, strict=True):
        weight, *others = one.masters
        to.begun = weight.grad is not None
        to.grad_weight = _grad(weight, torch.empty_like)
        to.grad_bias, to.grad_down, to.grad_up = (_grad(master, torch.zeros_like) for master in others)
    layer.grad_norms[:] = [_grad(norm, torch.zeros_like) for norm in parts.norms]


def _grad(master: Tensor | None, fresh: Any) -> int | None:
    """Where the gradient of a tensor stands; None where it wants none."""
    if master is None or not master.requires_grad:
        return None
    if master.grad is None:
        master.grad = fresh(master, memory_format=torch.contiguous_format)
    return master.grad.data_ptr()


def serves(parts: Parts, x: Tensor, *, collecting: bool) -> bool:
    """Whether a layer of these parts can be run by the kernel, of those that attention's kernel serves.

    With gradients it must be told that they may be added to `grad` (`Cast.collecting`), and they must lie there in float32.
    """
    if library() is None or x.dtype not in TYPES or any(one.dropout is not None for one in parts.maps):
        return False
    if not all(master.is_contiguous() for master in parts.masters):
        return False
    trained = [master for master in parts.masters if master.requires_grad] if torch.is_grad_enabled() else []
    return not trained or (collecting and all(map(_collects, trained)))


def _collects(master: Tensor) -> bool:
    stands = master.grad is None or (master.grad.is_contiguous() and master.grad.dtype == torch.float32)
    return master.is_leaf and master.dtype == torch.float32 and stands


def run(x: Tensor, parts: Parts, kernel: Kernel, standing: Standing) -> Tensor:
    """The layer of x [N, D], where `serves` says that it can."""
    trained = torch.is_grad_enabled() and any(master.requires_grad for master in parts.masters)
    told = torch.empty(0, requires_grad=True) if trained else None  # so that the output has a gradient
    return _Run.apply(x, told, parts, kernel, standing)  # type: ignore[no-untyped-call, no-any-return]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, told: Tensor | None, parts: Parts, kernel: Kernel, standing: Standing) -> Tensor:
        x, found = x.contiguous(), library()
        assert found is not None
        layer, held = kernel.described(parts)
        tokens, sizes = kernel.tokens(standing), (c_long * 3)()
        about = [ctypes.addressof(one) for one in (found.calls[x.dtype], layer, tokens)]
        found.run("layer_room", x.dtype, *about[1:], *(ctypes.addressof(sizes) + i * ctypes.sizeof(c_long) for i in range(3)))
        kept_size, scratch_size, back_size = sizes
        keeps = any(ctx.needs_input_grad[:2])
        kept = torch.empty(kept_size, dtype=torch.uint8) if keeps else kernel.memory("kept", kept_size)
        out, scratch = torch.empty_like(x), kernel.memory("scratch", scratch_size)
        found.run("layer", x.dtype, *about, x, out, kept, scratch, torch.get_num_threads())
        if keeps:
            ctx.save_for_backward(x, kept)
            ctx.layer, ctx.held, ctx.back_size = layer, held, back_size
            ctx.parts, ctx.kernel, ctx.standing = parts, kernel, standing
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (x, kept), kernel, found = ctx.saved_tensors, ctx.kernel, library()
        assert found is not None
        grad, grad_x = gradients[0].contiguous(), torch.empty_like(x) if ctx.needs_input_grad[0] else None
        _with_gradients(ctx.layer, ctx.parts)
        about = [ctypes.addressof(one) for one in (found.calls[x.dtype], ctx.layer, kernel.tokens(ctx.standing))]
        scratch = kernel.memory("scratch", ctx.back_size)
        found.run("layer_back", x.dtype, *about, x, grad, grad_x, kept, scratch, torch.get_num_threads())
        return grad_x, None, None, None, None
