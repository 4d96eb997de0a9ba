"""What a decoding step does beside its matrix products: norms, attention on the cache, gates, the draw.

`Kernels` says it in torch, for any device and dtype; `Compiled` does the same in one pass over memory each (kernels.cpp), on a
CPU, and `triton_kernels.Triton` on a GPU. Tests hold them equal.
"""

from __future__ import annotations

import ctypes
import math
from ctypes import c_double, c_int, c_long, c_void_p
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN

from plaudit.engines.kv_cache import KVCache
from plaudit.engines.sampling import draw, finite
from plaudit.engines.weights import Norm
from plaudit.models import native
from plaudit.models.families import Architecture
from plaudit.schema import Sampling

SOURCE = Path(__file__).with_name("kernels.cpp")
TYPES = ("bfloat16", "float32", "float64")
FUNCTIONS = {
    "norm": (c_void_p,) * 4 + (c_long,) * 2 + (c_double, c_int, c_int),
    "gate": (c_void_p,) * 2 + (c_long,) * 2 + (c_int,),
    "attend": (c_void_p,) * 9 + (c_long,) * 8 + (c_double, c_double, c_int),
    "draw": (c_void_p,) * 2 + (c_long,) * 2 + (c_double,) * 2 + (c_void_p,) * 2 + (c_int,),
}


def library() -> ctypes.CDLL | None:
    """kernels.cpp, compiled: `<name>_<type>`; None without a compiler."""
    return native.library(SOURCE, "generation", _functions)


def _functions() -> dict[str, tuple[Any, ...]]:
    return {f"{name}_{kind}": arguments for name, arguments in FUNCTIONS.items() for kind in TYPES}


def kernels_for(shape: Architecture, dtype: torch.dtype, device: torch.device, fast: bool | None) -> Kernels:
    """Compiled ones on a CPU with a compiler, Triton's on a GPU where it is installed, else torch's.

    float64 is the slow and exact twin: it stays with torch unless asked (`fast`), and on a GPU always.
    """
    half = dtype in (torch.bfloat16, torch.float32)
    if device.type == "cuda" and half and fast is not False and find_spec("triton"):
        from plaudit.engines.triton_kernels import Triton

        return Triton(shape, dtype)
    wanted = device.type == "cpu" and (half if fast is None else fast)
    found = library() if wanted else None
    return Kernels(shape, dtype) if found is None else Compiled(shape, dtype, found)


class Kernels:
    """In torch, operation by operation as transformers where rounding could differ. H heads on K key-value heads of size D."""

    name = "torch"
    reads_runs = False
    """Whether `attend` reads prompts that lie end to end."""
    fixed = False
    """Whether a step is the same launches whatever the longest row: then it can be recorded (graphs.py)."""

    def __init__(self, shape: Architecture, dtype: torch.dtype) -> None:
        self.shape, self.family = shape, shape.family
        self.activation = ACT2FN[shape.activation]
        self.stream = dtype
        """The dtype of the residual stream: what layers add to."""

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        """LayerNorm, or RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) in float32 whatever the dtype, as in transformers.

        Llama multiplies with the weight after rounding to the dtype, Gemma with 1 + weight before.
        """
        if self.family.layer_norm:
            return F.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias, self.shape.eps)
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.shape.eps)
        return (y * (1.0 + norm.weight.float())).to(x.dtype) if self.family.unit_offset else norm.weight * y.to(x.dtype)

    def add_norm(self, x: Tensor, more: Tensor | None, norm: Norm) -> tuple[Tensor, Tensor]:
        """x + more (x itself where there is none), and its norm, both [..., E]. x may be overwritten."""
        x = x if more is None else x + more
        return x, self.norm(x, norm)

    def gate(self, y: Tensor) -> Tensor:
        """[..., 2 I], gate and up -> activation(gate) * up."""
        gate, up = y.chunk(2, -1)
        return self.activation(gate) * up

    def attend(self, layer: int, qkv: Tensor, angles: tuple[Tensor, Tensor] | None, where: Where, cache: KVCache) -> Tensor:
        """Attention of q, k, v [B, H + 2 K, D] of the tokens at `where`; k and v go into the cache -> [B, H D].

        The query heads that share a key-value head stand as its queries, so the cache is read in place and once.
        """
        rows, heads, kv_heads, dim = len(qkv), self.shape.heads, self.shape.kv_heads, self.shape.head_dim
        qk, v = qkv[:, : heads + kv_heads], qkv[:, heads + kv_heads :]
        if angles is not None:
            qk = rotate(qk, angles[0][:, None], angles[1][:, None])
        cache.put_step(layer, where.places(cache), qk[:, heads:], v)
        q = qk[:, :heads].reshape(rows, kv_heads, heads // kv_heads, dim)
        mask = where.mask(self.shape.windows[layer], qkv.dtype).expand(*q.shape[:3], where.length)
        return self.mix(layer, q, *cache.window(layer, rows, where.length), mask).reshape(rows, -1)

    def mix(self, layer: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of q [..., T, D] on k and v [..., S, D]; without a mask it is causal. A softcap has a mask."""
        scale, bound = self.shape.scales[layer], self.shape.attention_softcap
        if bound is None or mask is None:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale)
        scores = q @ k.transpose(-1, -2) * (scale or self.shape.head_dim**-0.5)
        scores = torch.tanh(scores / bound) * bound + mask
        return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1).to(v.dtype) @ v

    def draw(self, logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
        """`sampling.draw`: ids [B] and log-probabilities [B] of logits [B, V]."""
        return draw(logits, uniform, sampling)


class Where:
    """Where tokens stand: positions [B] below `length`. What layers share is made once.

    In a step token b stands in slot b. Where prompts are read (by compiled kernels only) run r, the tokens starts[r] to
    starts[r + 1] - 1 at rising positions, stands in slot slots[r].
    """

    def __init__(self, positions: Tensor, length: int, slots: Tensor | None = None, starts: Tensor | None = None) -> None:
        self.positions, self.length = positions, length
        count = len(positions) if slots is None else len(slots)
        steps = torch.arange(count + 1)
        self.slots, self.starts = steps if slots is None else slots, steps if starts is None else starts
        self.runs = count
        self._places: Tensor | None = None
        self._masks: dict[int | None, Tensor] = {}

    def places(self, cache: KVCache) -> Tensor:
        """For `KVCache.put_step`."""
        if self._places is None:
            self._places = cache.places(self.positions)
        return self._places

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """What each row's newest token sees of its slot, [B, 1, 1, length]: 0 or -inf."""
        if window not in self._masks:
            distance = self.positions[:, None] - torch.arange(self.length, device=self.positions.device)
            unseen = distance < 0
            if window is not None and window < self.length:
                unseen = unseen | (distance >= window)
            mask = torch.zeros(len(self.positions), 1, 1, self.length, dtype=dtype, device=self.positions.device)
            self._masks[window] = mask.masked_fill_(unseen[:, None, None], -math.inf)
        return self._masks[window]


class Fast(Kernels):
    """What kernels share that add and normalise in one pass. In bfloat16 the residual stream is float32, as in training."""

    def __init__(self, shape: Architecture, dtype: torch.dtype) -> None:
        super().__init__(shape, dtype)
        self.dtype, self.silu = dtype, shape.activation == "silu"
        if not self.family.layer_norm:
            self.stream = torch.promote_types(dtype, torch.float32)

    def norm(self, x: Tensor, norm: Norm) -> Tensor:
        if self.family.layer_norm or x.dtype != self.stream or norm.weight.dim() > 1:
            return super().norm(x, norm)
        return self.add_norm(x.contiguous(), None, norm)[1]


class Compiled(Fast):
    """The same by kernels.cpp. A row's numbers do not depend on the rows beside it, nor on the number of threads."""

    name = "compiled"
    reads_runs = True

    def __init__(self, shape: Architecture, dtype: torch.dtype, found: Any) -> None:
        super().__init__(shape, dtype)
        kind = str(dtype).removeprefix("torch.")
        self._norm, self._gate, self._attend = (getattr(found, f"{name}_{kind}") for name in ("norm", "gate", "attend"))
        self._draw = getattr(found, f"draw_{kind}")

    def add_norm(self, x: Tensor, more: Tensor | None, norm: Norm) -> tuple[Tensor, Tensor]:
        if self.family.layer_norm:
            return super().add_norm(x, more, norm)
        read = torch.empty(x.shape, dtype=self.dtype)
        size, eps, offset = x.shape[-1], self.shape.eps, int(self.family.unit_offset)
        more = None if more is None else more.contiguous()  # held until the kernel has read it
        pointers = x.data_ptr(), None if more is None else more.data_ptr(), norm.weight.data_ptr(), read.data_ptr()
        self._norm(*pointers, x.numel() // size, size, eps, offset, torch.get_num_threads())
        return x, read

    def gate(self, y: Tensor) -> Tensor:
        if not self.silu:
            return super().gate(y)
        size = y.shape[-1] // 2
        out = torch.empty((*y.shape[:-1], size), dtype=y.dtype)
        self._gate(y.data_ptr(), out.data_ptr(), out.numel() // size, size, torch.get_num_threads())
        return out

    def attend(self, layer: int, qkv: Tensor, angles: tuple[Tensor, Tensor] | None, where: Where, cache: KVCache) -> Tensor:
        shape = self.shape
        out = torch.empty((len(qkv), shape.heads * shape.head_dim), dtype=qkv.dtype)
        cosine, sine, turned = (None, None, 0) if angles is None else (*(a.data_ptr() for a in angles), angles[0].shape[-1])
        keys, values = cache.keys[layer], cache.values[layer]
        self._attend(
            *(qkv.data_ptr(), cosine, sine, where.positions.data_ptr(), where.slots.data_ptr(), where.starts.data_ptr()),
            *(keys.data_ptr(), values.data_ptr(), out.data_ptr()),
            *(where.runs, shape.heads, shape.kv_heads, shape.head_dim, turned, keys.stride(0), keys.stride(1)),
            shape.windows[layer] or 0,
            shape.head_dim**-0.5 if shape.scales[layer] is None else shape.scales[layer],
            shape.attention_softcap or 0.0,
            torch.get_num_threads(),
        )
        return out

    def draw(self, logits: Tensor, uniform: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
        if sampling.top_k or sampling.top_p < 1 or logits.dtype != self.dtype:
            return super().draw(logits, uniform, sampling)
        logits, (rows, size) = logits.contiguous(), logits.shape
        ids, logprobs = torch.empty(rows, dtype=torch.long), torch.empty(rows, dtype=torch.float64)
        floor = math.log(sampling.min_p) if sampling.min_p else -math.inf
        pointers = ids.data_ptr(), logprobs.data_ptr()
        numbers = rows, size, sampling.temperature, floor
        self._draw(logits.data_ptr(), uniform.data_ptr(), *numbers, *pointers, torch.get_num_threads())
        finite(bool((ids >= 0).all()))
        return ids, logprobs


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of x [..., heads, D], halves layout.

    Only the first dimensions are turned where the angles are fewer than D.
    """
    width = cos.shape[-1]
    if width < x.shape[-1]:
        return torch.cat((rotate(x[..., :width], cos, sin), x[..., width:]), -1)
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin
