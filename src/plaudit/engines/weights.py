"""The engine's own copy of a model's weights: fused matrices, filled by Hugging Face parameter names.

On a CPU in bfloat16 matrices are kept as its matrix units read them, else they would be brought into that layout at every
product: in our own layout beside compiled kernels (models/products.cpp), and in oneDNN's elsewhere, with the bits of a plain
product. The plain copy is there while weights are loaded only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.models.families import Architecture
from plaudit.models.machine import fast_bf16
from plaudit.models.products import Laid, Tiled
from plaudit.schema import UserError


@dataclass(frozen=True)
class Norm:
    """Weight and, for LayerNorm, bias."""

    weight: Tensor
    bias: Tensor | None


PACKED_ROWS = 16
"""For how many rows oneDNN is asked to lay out a matrix: that layout serves 1 to 1024 rows at speed, one for 64 does not."""


class Linear:
    """x [..., inputs] -> x W^T + bias [..., outputs]; W is `weight`, or `packed`."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight: Tensor | None = weight
        self.bias = bias
        self.packed: Tensor | Laid | None = None
        self.products: Tiled | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if isinstance(self.packed, Laid):
            assert self.products is not None
            return self.products.linear(x, self.packed, self.bias)
        if self.packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        assert self.weight is not None
        return F.linear(x, self.weight, self.bias)

    def pack(self, products: Tiled | None) -> None:
        """Keep the packed copy alone: for `products`, or for oneDNN."""
        assert self.weight is not None
        if products is None:
            self.packed = torch.ops.mkldnn._reorder_linear_weight(self.weight, PACKED_ROWS)
        else:
            self.packed, self.bias = products.lay(self.weight), None if self.bias is None else self.bias.float()
        self.weight, self.products = None, products


def packs(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether packing serves: bf16 on a CPU whose matrix products go through oneDNN."""
    there = hasattr(torch.ops.mkldnn, "_linear_pointwise") and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
    return (
        dtype == torch.bfloat16
        and device.type == "cpu"
        and there
        and torch.backends.mkldnn.is_available()
        and fast_bf16(device)
    )


@dataclass(frozen=True)
class Layer:
    """One layer's weights: q, k, v in one matrix, gate and up in one. None is what the family does not have."""

    norm: Norm
    qkv: Linear
    out: Linear
    mlp_norm: Norm | None
    up: Linear
    down: Linear
    qk_norm: Norm | None
    """Weight [heads + kv_heads, head_dim], a row for each head."""
    attention_norm: Norm | None
    out_norm: Norm | None


@dataclass(frozen=True)
class Place:
    """Where a parameter goes: a part of a buffer, the shape in which it comes, and that in which the part takes it."""

    target: Tensor
    comes: tuple[int, ...]
    view: tuple[int, ...]


class Weights:
    """Buffers for all weights of a model: none until `load` where they are packed or were dropped, else zeros."""

    def __init__(self, config: Any, shape: Architecture, dtype: torch.dtype, device: torch.device) -> None:
        self.config, self.shape, self.family, self.dtype, self.device = config, shape, shape.family, dtype, device
        self.places: dict[str, Place] = {}
        """Hugging Face parameter name -> the part of our buffers that it fills."""
        self.layers: list[Layer] = []
        self.packs = packs(dtype, device)
        self.products: Tiled | None = None
        """What matrices are packed for at the next `load`, where packing serves; None: oneDNN."""
        if not self.packs:
            self._make()

    def _make(self) -> None:
        config, family, root, width = self.config, self.family, self.family.root, self.config.hidden_size
        self.embed = self._own(config.vocab_size, width, name=f"{root}.{family.embed}.weight")
        self.positions = None
        if family.positions:
            self.positions = self._own(config.max_position_embeddings, width, name=f"{root}.{family.positions}.weight")
        self.norm = self._norm(f"{root}.{family.final_norm}")
        self.layers = [self._layer(f"{root}.{family.layers}.{i}") for i in range(config.num_hidden_layers)]
        bias = self._own(config.vocab_size, name="lm_head.bias") if family.head_bias else None
        if config.tie_word_embeddings:
            self.head = Linear(self.embed, bias)
            self.places["lm_head.weight"] = self.places[f"{root}.{family.embed}.weight"]
        else:
            self.head = Linear(self._own(config.vocab_size, width, name="lm_head.weight"), bias)

    def _own(self, *shape: int, name: str | None = None) -> Tensor:
        buffer = torch.zeros(shape, dtype=self.dtype, device=self.device)
        if name:
            self.places[name] = Place(buffer, shape, shape)
        return buffer

    def _norm(self, name: str) -> Norm:
        width = self.config.hidden_size
        bias = self._own(width, name=f"{name}.bias") if self.family.layer_norm else None
        return Norm(self._own(width, name=f"{name}.weight"), bias)

    def _fused(self, prefix: str, names: Sequence[str], rows: Sequence[int], inputs: int, bias: bool) -> Linear:
        """One matrix [sum of rows, inputs] and bias. Each name fills its rows; one name alone fills them all."""
        total = sum(rows)
        weight = self._own(total, inputs)
        shift = self._own(total) if bias else None
        start = 0
        for name, count in zip(names, rows if len(names) > 1 else [total], strict=True):
            part = weight[start : start + count]
            part = part.T if self.family.transposed else part
            self.places[f"{prefix}.{name}.weight"] = Place(part, tuple(part.shape), tuple(part.shape))
            if shift is not None:
                self.places[f"{prefix}.{name}.bias"] = Place(shift[start : start + count], (count,), (count,))
            start += count
        return Linear(weight, shift)

    def _by_head(self, name: str, qkv: Linear) -> None:
        """The one matrix comes as q, k, v of the first head, of the second ...; here all q come first."""
        heads, dim = self.shape.heads, self.shape.head_dim
        for kind, whole in (("weight", qkv.weight), ("bias", qkv.bias)):
            if whole is not None:
                rest = tuple(whole.shape[1:])
                target = whole.view(3, heads, dim, *rest).transpose(0, 1)
                self.places[f"{name}.{kind}"] = Place(target, tuple(whole.shape), (heads, 3, dim, *rest))

    def _qk_norm(self, prefix: str) -> Norm | None:
        """Norms of single heads: the rows of one weight, so that queries and keys are normed together."""
        if not self.family.query_norm:
            return None
        weight = self._own(self.shape.heads + self.shape.kv_heads, self.shape.head_dim)
        for name, part in (
            (self.family.query_norm, weight[: self.shape.heads]),
            (self.family.key_norm, weight[self.shape.heads :]),
        ):
            self.places[f"{prefix}.{name}.weight"] = Place(part, (self.shape.head_dim,), (1, self.shape.head_dim))
        return Norm(weight, None)

    def _layer(self, prefix: str) -> Layer:
        family, shape, width = self.family, self.shape, self.config.hidden_size
        q, kv, inner = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, shape.inner

        def norm(name: str) -> Norm | None:
            return self._norm(f"{prefix}.{name}") if name else None

        qkv = self._fused(prefix, family.qkv, (q, kv, kv), width, shape.qkv_bias)
        if family.qkv_by_head:
            self._by_head(f"{prefix}.{family.qkv[0]}", qkv)
        return Layer(
            self._norm(f"{prefix}.{family.input_norm}"),
            qkv,
            self._fused(prefix, (family.out,), (width,), q, shape.out_bias),
            norm(family.mlp_input_norm),
            self._fused(prefix, family.up, (inner, inner) if family.gated else (inner,), width, shape.mlp_bias),
            self._fused(prefix, (family.down,), (width,), inner, shape.mlp_bias),
            self._qk_norm(prefix),
            norm(family.attention_norm),
            norm(family.mlp_norm),
        )

    def drop(self) -> None:
        """Give the memory back; `load` takes it again."""
        self.layers = []
        self.places.clear()
        for name in ("embed", "positions", "norm", "head"):
            self.__dict__.pop(name, None)

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy weights into the buffers, see `fill`: in place, or into fresh ones that are then packed."""
        if self.packs:
            self.drop()  # the old weights go before the new ones come: there is never more than one copy
        if not self.layers:
            self._make()
        fill(self.places, weights)
        if not self.packs:
            return
        self.places.clear()
        for linear in (
            self.head,
            *(linear for layer in self.layers for linear in (layer.qkv, layer.out, layer.up, layer.down)),
        ):
            linear.pack(self.products)


@torch.no_grad()
def fill(places: Mapping[str, Place], weights: Iterable[tuple[str, Tensor]]) -> None:
    """Copy weights to their places. Where names share a place (tied weights) one may come, or all, equal.

    Raises UserError for a name or shape that the model does not have, a name that never came, and tied weights that differ.
    """
    names: dict[int, set[str]] = defaultdict(set)
    for name in places:
        names[places[name].target.data_ptr()].add(name)
    missing = set(places)
    for name, tensor in weights:
        if name not in places:
            raise UserError(
                f"the weights hold {name!r}, which this model does not have (merge adapters before sending weights)."
            )
        place = places[name]
        if place.comes != tuple(tensor.shape):
            raise UserError(f"weight {name!r} has shape {list(tensor.shape)}, the model's is {list(place.comes)}.")
        tied = names[place.target.data_ptr()]
        if (first := tied - missing - {name}) and not torch.equal(place.target, tensor.to(place.target)):
            raise UserError(f"the model ties {name} to {min(first)}, but the two that were sent differ.")
        place.target.copy_(tensor.reshape(place.view))
        missing.discard(name)
    missing = {name for name in missing if names[places[name].target.data_ptr()] <= missing}
    if missing:
        raise UserError(f"{len(missing)} of {len(places)} weights did not come, {min(missing)!r} among them.")
