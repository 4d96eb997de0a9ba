"""The decoding kernels of `kernels.py` on a GPU, in Triton: norm of a sum, gate, attention on the cache, each one launch.

A row's numbers do not depend on the rows beside it, and attention reads each slot up to its own row's place: nothing here
depends on the longest row, so a step can be recorded once and replayed (graphs.py).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from plaudit.engines.kernels import Fast, Where
from plaudit.engines.kv_cache import KVCache
from plaudit.engines.weights import Norm

QUERIES = 16
"""Fewest lines of a matrix product in Triton: the query heads of a key-value head are filled up to it."""
PLACES = 64
"""Places of the cache that attention takes at once."""
GATED = 1024
"""Numbers that one program of the gate makes."""


@triton.jit
def _add_norm(x, more, weight, read, size, eps, HAS_MORE: tl.constexpr, OFFSET: tl.constexpr, BLOCK: tl.constexpr):
    """x += more; read = x / rms(x) * weight, sums in float32."""
    row, d = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    inside = d < size
    total = tl.load(x + row * size + d, inside, other=0.0).to(tl.float32)
    if HAS_MORE:
        total += tl.load(more + row * size + d, inside, other=0.0).to(tl.float32)
        tl.store(x + row * size + d, total, inside)
    w = tl.load(weight + d, inside, other=0.0).to(tl.float32) + OFFSET
    inverse = tl.rsqrt(tl.sum(total * total) / size + eps)
    tl.store(read + row * size + d, total * inverse * w, inside)


@triton.jit
def _gate(y, out, size, BLOCK: tl.constexpr):
    """silu(gate) * up of y, whose lines hold gate and then up."""
    row, d = tl.program_id(0).to(tl.int64), tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = d < size
    gate = tl.load(y + row * 2 * size + d, inside, other=0.0).to(tl.float32)
    up = tl.load(y + row * 2 * size + size + d, inside, other=0.0).to(tl.float32)
    tl.store(out + row * size + d, gate * tl.sigmoid(gate) * up, inside)


@triton.jit
def _turned(x, line, d, cosine, sine, SIZE: tl.constexpr, TURNED: tl.constexpr):
    """Rotary positions of the vectors at `line` [Q], in float32 [Q, BLOCK]: halves (a, b) become (a c - b s, b c + a s)."""
    inside = (d < SIZE)[None]
    vectors = tl.load(x + line[:, None] + d[None], inside, other=0.0).to(tl.float32)
    if TURNED > 0:
        half = TURNED // 2
        turned = d < TURNED
        other = tl.where(d < half, d + half, d - half)
        across = tl.load(x + line[:, None] + other[None], turned[None], other=0.0).to(tl.float32)
        across = tl.where((d < half)[None], -across, across)
        c = tl.load(cosine + d, turned, other=1.0).to(tl.float32)
        s = tl.load(sine + d, turned, other=0.0).to(tl.float32)
        vectors = vectors * c[None] + across * s[None]
    return vectors


@triton.jit
def _bounded(scores, scale, softcap, HAS_CAP: tl.constexpr):
    """softcap * tanh(scores / softcap) of the scaled scores (Gemma 2, arXiv 2408.00118)."""
    scores = scores * scale
    if HAS_CAP:
        scores = softcap * (2 * tl.sigmoid(2 * scores / softcap) - 1)
    return scores


@triton.jit
def _attend(
    qkv, cosine, sine, positions, keys, values, out, slot_stride, head_stride, window, scale, softcap,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, SIZE: tl.constexpr, TURNED: tl.constexpr, HAS_WINDOW: tl.constexpr,
    HAS_CAP: tl.constexpr, QUERIES: tl.constexpr, PLACES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The query heads of one row on one key-value head: softmax(q k / sqrt(D)) v by a running maximum, as in flash attention
    (Dao et al. 2022, arXiv 2205.14135). The newest key and value never come from memory: they are written here."""
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    group: tl.constexpr = HEADS // KV_HEADS
    q, d = tl.arange(0, QUERIES), tl.arange(0, BLOCK)
    inside = d < SIZE
    first = row * (HEADS + 2 * KV_HEADS) * SIZE
    cosine += row * TURNED
    sine += row * TURNED
    position = tl.load(positions + row)
    kind = keys.dtype.element_ty
    place = row * slot_stride + head * head_stride
    lines = first + (head * group + tl.where(q < group, q, 0)) * SIZE
    query = _turned(qkv, lines, d, cosine, sine, SIZE, TURNED).to(kind)
    own = first + (HEADS + head) * SIZE + tl.zeros([1], tl.int64)
    key = _turned(qkv, own, d, cosine, sine, SIZE, TURNED).to(kind)
    value = tl.load(qkv + first + (HEADS + KV_HEADS + head) * SIZE + d, inside, other=0.0)
    new = place + position * SIZE + d
    tl.store(keys + new[None], key, inside[None])
    tl.store(values + new, value, inside)

    most = _bounded(tl.sum(query.to(tl.float32) * key.to(tl.float32), 1), scale, softcap, HAS_CAP)
    total = tl.full([QUERIES], 1.0, tl.float32)
    mixed = tl.zeros([QUERIES, BLOCK], tl.float32) + value.to(tl.float32)[None]
    start = position * 0
    if HAS_WINDOW:
        start = tl.maximum(position - window + 1, 0)
    for at in range(start, position, PLACES):
        places = at + tl.arange(0, PLACES)
        seen = places < position
        spots = place + places[:, None] * SIZE + d[None]
        there = seen[:, None] & inside[None]
        k = tl.load(keys + spots, there, other=0.0)
        v = tl.load(values + spots, there, other=0.0)
        scores = _bounded(tl.dot(query, tl.trans(k), input_precision="ieee"), scale, softcap, HAS_CAP)
        scores = tl.where(seen[None], scores, float("-inf"))
        higher = tl.maximum(most, tl.max(scores, 1))
        shrink = tl.exp(most - higher)
        weights = tl.exp(scores - higher[:, None])
        total = total * shrink + tl.sum(weights, 1)
        mixed = mixed * shrink[:, None] + tl.dot(weights.to(kind), v, input_precision="ieee")
        most = higher
    mixed = mixed / total[:, None]
    to = (row * HEADS + head * group + q) * SIZE
    tl.store(out + to[:, None] + d[None], mixed, (q < group)[:, None] & inside[None])


class Triton(Fast):
    """In Triton, for CUDA in bfloat16 and float32."""

    name = "triton"
    fixed = True

    def add_norm(self, x: Tensor, more: Tensor | None, norm: Norm) -> tuple[Tensor, Tensor]:
        if self.family.layer_norm:
            return super().add_norm(x, more, norm)
        read, size = torch.empty(x.shape, dtype=self.dtype, device=x.device), x.shape[-1]
        more = None if more is None else more.contiguous()
        given = (x, x if more is None else more, norm.weight, read, size, self.shape.eps)
        _add_norm[x.numel() // size,](
            *given, HAS_MORE=more is not None, OFFSET=float(self.family.unit_offset), BLOCK=triton.next_power_of_2(size)
        )
        return x, read

    def gate(self, y: Tensor) -> Tensor:
        if not self.silu:
            return super().gate(y)
        y, size = y.contiguous(), y.shape[-1] // 2
        out = torch.empty((*y.shape[:-1], size), dtype=y.dtype, device=y.device)
        _gate[out.numel() // size, triton.cdiv(size, GATED)](y, out, size, BLOCK=GATED)
        return out

    def attend(self, layer: int, qkv: Tensor, angles: tuple[Tensor, Tensor] | None, where: Where, cache: KVCache) -> Tensor:
        shape, qkv = self.shape, qkv.contiguous()
        out = torch.empty((len(qkv), shape.heads * shape.head_dim), dtype=qkv.dtype, device=qkv.device)
        cosine, sine = (qkv, qkv) if angles is None else (part.contiguous() for part in angles)
        keys, values = cache.keys[layer], cache.values[layer]
        window, softcap, scale = shape.windows[layer], shape.attention_softcap, shape.scales[layer]
        tensors: tuple[Any, ...] = (qkv, cosine, sine, where.positions, keys, values, out)
        numbers = (window or 0, shape.head_dim**-0.5 if scale is None else scale, softcap or 0.0)
        _attend[len(qkv), shape.kv_heads](
            *tensors,
            keys.stride(0),
            keys.stride(1),
            *numbers,
            HEADS=shape.heads,
            KV_HEADS=shape.kv_heads,
            SIZE=shape.head_dim,
            TURNED=0 if angles is None else cosine.shape[-1],
            HAS_WINDOW=window is not None,
            HAS_CAP=softcap is not None,
            QUERIES=max(QUERIES, triton.next_power_of_2(shape.heads // shape.kv_heads)),
            PLACES=PLACES,
            BLOCK=max(16, triton.next_power_of_2(shape.head_dim)),
        )
        return out
