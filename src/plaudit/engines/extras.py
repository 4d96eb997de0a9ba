"""What an adapter adds to a decoder and cannot be merged into its weights: virtual tokens, bottlenecks.

Names and shapes are those of `models.base.Base.merged`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.models.adapters import key_value_shape

TOKENS = ("prompt_embeddings", "prefix_embeddings")
BOTTLENECK = "bottleneck."


class Extras:
    """The tensors of one adapter; empty where there is none."""

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.layers, (self.heads, self.size) = int(config.num_hidden_layers), key_value_shape(config)
        self.tensors: dict[str, Tensor] = {}

    def sifted(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """The weights that are the model's own; an adapter's are kept here, as copies."""
        for name, tensor in weights:
            if name in TOKENS or name.startswith(BOTTLENECK):
                self.tensors[name] = tensor.detach().to(self.device, self.dtype, copy=True)
            else:
                yield name, tensor

    @property
    def prompt(self) -> Tensor | None:
        """Embeddings [V, E] before every row."""
        return self.tensors.get("prompt_embeddings")

    @property
    def virtual(self) -> int:
        """Places that virtual tokens take before every row."""
        return next((len(self.tensors[name]) for name in TOKENS if name in self.tensors), 0)

    def before(self, layer: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values [1, kv_heads, V, head_dim] that stand before every row in one layer."""
        stored = self.tensors.get("prefix_embeddings")
        if stored is None:
            return None
        pair = stored.view(len(stored), self.layers, 2, self.heads, self.size)[:, layer].permute(1, 2, 0, 3)
        return pair[0][None], pair[1][None]

    def after(self, layer: int, place: str, x: Tensor) -> Tensor:
        """The output x of a layer's `attention` or `mlp`, with its bottleneck: x + W_up gelu(W_down x + b) + b."""
        part = f"{BOTTLENECK}{layer}.{place}."
        if part + "up.weight" not in self.tensors:
            return x
        down, up = ((self.tensors[f"{part}{way}.weight"], self.tensors[f"{part}{way}.bias"]) for way in ("down", "up"))
        return x + F.linear(F.gelu(F.linear(x, *down)), *up)
