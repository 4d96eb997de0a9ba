"""Sums of matrix products, A1 B1 + A2 B2 + ...: what linear maps with adapters are made of, and their gradients.

`Products` says it in torch, for any device and dtype; `Tiled` does the same on a processor's matrix units in bfloat16
(products.cpp), summing all parts in float32 and rounding once. Tests hold the two equal.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_double, c_int, c_long, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from plaudit.models import native

Tensor = torch.Tensor


@dataclass(frozen=True)
class Sum:
    """scale * (A1 B1 + A2 B2 + ...) [M, N] and bias [N] in each row, where there is one."""

    pairs: Sequence[tuple[Tensor, Tensor]]
    """(A [M, K], B [K, N]) of each product."""
    bias: Tensor | None = None
    scale: float = 1.0


SOURCE = Path(__file__).with_name("products.cpp")
ARGUMENTS = (c_void_p, c_long, c_void_p, c_void_p, c_long, c_long, c_int)
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "products_bfloat16": ARGUMENTS,
    "products_float32": ARGUMENTS,
    "products_lay": (c_void_p, c_long, c_long, c_void_p, c_int),
    "products_laid": (c_void_p, c_long, c_long, c_void_p, c_void_p, c_void_p, c_long, c_int),
    "tiles_work": (c_void_p,),
}
ACROSS, DEEP = 32, 32
"""Columns of a panel, and how much of the depth a tile holds: what is laid out is a multiple of both."""


class Products:
    """In torch: a product after another, each rounded to the dtype."""

    name = "torch"

    def totals(self, sums: Sequence[Sum]) -> list[Tensor]:
        """What each sum [M, N] is, in the dtype of its products. All A have the same M."""
        return [self._one(one) for one in sums]

    def total(self, *pairs: tuple[Tensor, Tensor], scale: float = 1.0) -> Tensor:
        """One sum."""
        return self.totals([Sum(pairs, scale=scale)])[0]

    def collect(self, parameter: Tensor, a: Tensor, b: Tensor) -> None:
        """Add A B to the gradient that stands in `parameter.grad`, in the parameter's dtype."""
        if parameter.grad is None:
            parameter.grad = torch.mm(a, b).to(parameter.dtype)
        elif parameter.dtype == a.dtype:
            parameter.grad.addmm_(a, b)
        else:
            parameter.grad.add_(torch.mm(a, b))

    def _one(self, one: Sum) -> Tensor:
        (a, b), *others = one.pairs
        if one.bias is None:
            made = torch.mm(a, b)
            made = made if one.scale == 1.0 else made.mul_(one.scale)
        else:
            made = torch.addmm(one.bias, a, b, alpha=one.scale)
        for a, b in others:
            made.addmm_(a, b, alpha=one.scale)
        return made


@cache
def tiled() -> Tiled | None:
    """products.cpp, compiled; None without a compiler, or where the processor has no matrix units that this process may use."""
    found = native.library(SOURCE, "training", lambda: FUNCTIONS)
    if found is None:
        return None
    answer = c_int(0)
    found.tiles_work(ctypes.byref(answer))
    return Tiled(found) if answer.value else None


@dataclass(frozen=True)
class Laid:
    """A weight [outputs, inputs] in bfloat16 as matrix units read it."""

    numbers: Tensor
    outputs: int
    inputs: int


class _Left(ctypes.Structure):
    """As in sums.h, like those below."""

    _fields_ = (("start", c_void_p), *((name, c_long) for name in ("depth", "row", "deep")))


class _Part(ctypes.Structure):
    _fields_ = (("left", c_long), ("start", c_void_p), ("deep", c_long), ("column", c_long))


class _Job(ctypes.Structure):
    _fields_ = (
        *((name, c_long) for name in ("first", "count")),
        *((name, c_void_p) for name in ("bias", "out")),
        *((name, c_long) for name in ("stride", "columns", "more")),
        ("scale", c_double),
    )


class Tiled(Products):
    """In bfloat16 on matrix units, by products.cpp; all else in torch. The number of threads changes nothing."""

    name = "tiled"

    def __init__(self, found: ctypes.CDLL) -> None:
        self.library = found

    def totals(self, sums: Sequence[Sum]) -> list[Tensor]:
        if {tensor.dtype for one in sums for pair in one.pairs for tensor in pair} != {torch.bfloat16}:
            return super().totals(sums)
        rows = len(sums[0].pairs[0][0])
        outs = [torch.empty(rows, one.pairs[0][1].shape[1], dtype=torch.bfloat16) for one in sums]
        self._into(outs, sums)
        return outs

    def collect(self, parameter: Tensor, a: Tensor, b: Tensor) -> None:
        before = parameter.grad
        if a.dtype != torch.bfloat16 or parameter.dtype != torch.float32 or not (before is None or before.is_contiguous()):
            super().collect(parameter, a, b)
            return
        if parameter.grad is None:
            parameter.grad = torch.empty_like(parameter, memory_format=torch.contiguous_format)
            self._into([parameter.grad], [Sum([(a, b)])])
        else:
            self.add(parameter.grad, a, b)

    def add(self, out: Tensor, a: Tensor, b: Tensor) -> None:
        """out [M, N] in float32, += A B of bfloat16."""
        self._into([out], [Sum([(a, b)])], more=True)

    def lay(self, weight: Tensor) -> Laid:
        """A copy of a weight in bfloat16 for `linear`: laid out once, not at each product."""
        weight, (outputs, inputs) = weight.contiguous(), weight.shape
        numbers = torch.empty(-(-outputs // ACROSS) * ACROSS * -(-inputs // DEEP) * DEEP, dtype=torch.bfloat16)
        self.library.products_lay(weight.data_ptr(), outputs, inputs, numbers.data_ptr(), torch.get_num_threads())
        return Laid(numbers, outputs, inputs)

    def linear(self, x: Tensor, laid: Laid, bias: Tensor | None = None) -> Tensor:
        """x W^T + bias [..., outputs], of x [..., inputs] in bfloat16 and a bias in float32. A row's bits are its own."""
        if x.dtype != torch.bfloat16 or x.shape[-1] != laid.inputs:
            raise ValueError(f"{list(x.shape)} in {x.dtype} for a weight of {laid.inputs} inputs in bfloat16")
        x, out = x.contiguous(), x.new_empty(*x.shape[:-1], laid.outputs)
        pointers = laid.numbers.data_ptr(), None if bias is None else bias.data_ptr(), out.data_ptr()
        rows = x.numel() // laid.inputs
        self.library.products_laid(x.data_ptr(), rows, laid.inputs, *pointers, laid.outputs, torch.get_num_threads())
        return out

    def _into(self, outs: Sequence[Tensor], sums: Sequence[Sum], *, more: bool = False) -> None:
        """Write the sums, or add them to what is there. `outs` are all of one dtype, their rows lie together."""
        lefts: dict[int, tuple[int, Tensor]] = {}
        parts, jobs, kept = list[_Part](), list[_Job](), list[Tensor]()
        for one, out in zip(sums, outs, strict=True):
            bias = None if one.bias is None else one.bias.float().contiguous()
            shift = None if bias is None else bias.data_ptr()
            jobs.append(_Job(len(parts), len(one.pairs), shift, out.data_ptr(), out.stride(0), out.shape[1], more, one.scale))
            kept.extend([] if bias is None else [bias])
            for a, b in one.pairs:
                number, _ = lefts.setdefault(id(a), (len(lefts), _plain(a)))
                right = _plain(b)
                kept.append(right)
                parts.append(_Part(number, right.data_ptr(), *right.stride()))
        first = [_Left(a.data_ptr(), a.shape[1], *a.stride()) for _, a in lefts.values()]
        given = (_Left * len(first))(*first), (_Part * len(parts))(*parts), (_Job * len(jobs))(*jobs)
        call = self.library.products_bfloat16 if outs[0].dtype == torch.bfloat16 else self.library.products_float32
        places = [ctypes.addressof(one) for one in given]
        call(places[0], len(first), places[1], places[2], len(jobs), len(outs[0]), torch.get_num_threads())


def _plain(x: Tensor) -> Tensor:
    """x with lines, or columns, that lie together."""
    rows, columns = x.shape
    if x.stride(1) == 1 and (rows == 1 or x.stride(0) > 1):
        return x
    return x if x.stride(0) == 1 and columns > 1 and x.stride(1) > 1 else x.contiguous()
