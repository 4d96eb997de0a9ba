"""Causal attention on a processor with matrix units (AMX), one call forward and one backward: attention.cpp.

`attention.attend_rows` takes it where `serves` says so; what that does in torch is the slow twin. Scores, softmax and sums are
float32 here; the twin rounds each step to bfloat16.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_long, c_void_p
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from plaudit.models import native
from plaudit.models.products import tiled

Tensor = torch.Tensor
SOURCE = Path(__file__).with_name("attention.cpp")
STANDING = (c_void_p,) * 3 + (c_long,) * 5
FUNCTIONS = {"attend": STANDING + (c_void_p,) * 5 + (c_int,), "attend_back": STANDING + (c_void_p,) * 11 + (c_int,)}
DEEP = 32
"""Numbers that one product of the units sums: heads are a multiple of it."""
LARGEST = 128
"""Numbers of a head up to which it was tried."""


@dataclass(frozen=True)
class Standing:
    """Which tokens stand where in lines that are causal.

    places  [L, W] int64 the token in each place, -1 behind the tokens of a line
    counts  [L] int64 how many there are
    starts  [L] int64 how many of them, at the front, stand in a line before as well
    again   [sum of starts] int64 those tokens, line by line
    tokens  N, each of which stands somewhere
    """

    places: Tensor
    counts: Tensor
    starts: Tensor
    again: Tensor
    tokens: int


@cache
def library() -> ctypes.CDLL | None:
    """attention.cpp, compiled; None without a compiler, matrix units, or the system's leave to use them (`products.tiled`)."""
    return None if tiled() is None else native.library(SOURCE, "training", lambda: FUNCTIONS)


def serves(device: torch.device, dtype: torch.dtype, size: int) -> bool:
    """Whether it does attention of heads of `size` numbers there."""
    fits = device.type == "cpu" and dtype == torch.bfloat16 and size % DEEP == 0 and size <= LARGEST
    return fits and library() is not None


class Attend(torch.autograd.Function):
    """Causal attention of tokens among those of their line: query [N, H, D], already scaled, key and value [N, K, D]."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, standing: Standing) -> Tensor:
        query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
        out = torch.empty_like(query)
        sums = torch.empty(query.shape[:2])
        _run("attend", standing, query, key, value, out, sums)
        ctx.save_for_backward(query, key, value, out, sums)
        ctx.standing = standing
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        query, key, value, out, sums = ctx.saved_tensors
        standing: Standing = ctx.standing
        grad, grad_query = gradients[0].contiguous(), torch.empty_like(query)
        shared = len(standing.again) > 0  # summed over their lines before they are rounded
        grads = [torch.empty_like(x, dtype=torch.float32 if shared else x.dtype) for x in (key, value)]
        more = [grads[0].new_empty(len(standing.again), *key.shape[1:]) if shared else None for _ in grads]
        _run("attend_back", standing, query, key, value, out, sums, grad, grad_query, *grads, *more)
        for total, part in zip(grads, more, strict=True):
            if part is not None:
                total.index_add_(0, standing.again, part)
        return grad_query, grads[0].to(key.dtype), grads[1].to(value.dtype), None


def attend(query: Tensor, key: Tensor, value: Tensor, standing: Standing) -> Tensor:
    """`Attend`, where `serves` says that it can: [N, H, D]."""
    if len(query) != standing.tokens:
        raise ValueError(f"{len(query)} tokens, of which {standing.tokens} stand in lines")
    return Attend.apply(query, key, value, standing)  # type: ignore[no-untyped-call, no-any-return]


def _run(name: str, at: Standing, query: Tensor, key: Tensor, *others: Tensor | None) -> None:
    given = (at.places, at.counts, at.starts, *at.places.shape, *query.shape[1:2], *key.shape[1:], query, key, *others)
    pointers = [a.data_ptr() if isinstance(a, Tensor) else a for a in given]
    getattr(library(), name)(*pointers, torch.get_num_threads())
