"""The decoder of every family in `models/families.py`, for generation: fused weights of its own, a cache, no graph.

The maths is that of transformers, operation by operation where rounding could differ: norms and rotary angles in float32,
softmax inside scaled_dot_product_attention, matrix products in the weights' dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from plaudit.engines.extras import Extras
from plaudit.engines.kernels import Compiled, Where, kernels_for
from plaudit.engines.kv_cache import KVCache
from plaudit.engines.prefill import batches
from plaudit.engines.weights import Layer, Weights
from plaudit.models.families import architecture, context, ropes, rotary_class, steady_length, unknown
from plaudit.models.products import tiled
from plaudit.schema import UserError

ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3", "longrope")
"""Those whose frequencies do not change with the length, as long as it stays within `steady_length`."""


def cannot(config: Any, max_length: int) -> str | None:
    """Why this decoder cannot compute a model, as part of a sentence; None where it can."""
    if reason := unknown(config):
        return reason
    for rope in ropes(config):
        if rope["rope_type"] not in ROPE_TYPES:
            return f"the rope type {rope['rope_type']!r} is not known (known: {', '.join(ROPE_TYPES)})"
    if steady_length(config) < max_length <= context(config):
        return f"its rotary angles change above {steady_length(config)} tokens, and max_length is {max_length}"
    return None


def check(config: Any, max_length: int) -> None:
    """Refuse a model this decoder cannot compute. Raises UserError with the reason."""
    if reason := cannot(config, max_length):
        raise UserError(f"the torch engine cannot generate with this model: {reason}.")
    if max_length > context(config):
        raise UserError(f"max_length {max_length} is more than the model can read (max_position_embeddings {context(config)}).")


class Decoder:
    """Forward passes over `weights`. H query heads, K key-value heads, D head size, V vocabulary, E hidden size."""

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device, compiled: bool | None = None) -> None:
        self.config, self.dtype, self.device = config, dtype, device
        self.shape = shape = architecture(config)
        self.family = shape.family
        self.heads, self.kv_heads, self.head_dim = shape.heads, shape.kv_heads, shape.head_dim
        self.extras = Extras(config, dtype, device)
        self.weights = Weights(config, shape, dtype, device)
        self.use(compiled)
        self.scale = None
        if shape.embedding_scale is not None:  # rounded to float32 first, as transformers keeps it
            self.scale = torch.tensor(shape.embedding_scale, dtype=torch.float32).to(device, dtype)
        self.rotary = rotary_class(self.family)(config).to(device) if self.family.rotary else None
        self.angles: dict[str, tuple[Tensor, Tensor]] = {}
        """cos and sin [length, D] of each kind of rotary angles."""
        self.length = 0

    def use(self, compiled: bool | None) -> None:
        """Compute with the fast kernels, or not, see `kernels_for`; products follow at the next `load`."""
        self.kernels = kernels_for(self.shape, self.dtype, self.device, compiled)
        self.weights.products = tiled() if isinstance(self.kernels, Compiled) else None

    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy weights into the buffers in place (see `weights.fill`); what an adapter adds is kept, and the last one's not."""
        self.extras = extras = Extras(self.config, self.dtype, self.device)
        self.weights.load(extras.sifted(weights))

    def reserve(self, length: int) -> None:
        """Tables of the rotary angles for positions 0..length-1."""
        if self.rotary is None or length <= self.length:
            return
        self.length = length
        probe = torch.empty(0, dtype=self.dtype, device=self.device)
        places = torch.arange(length, device=self.device)[None]
        for kind in set(self.shape.ropes):
            cos, sin = self.rotary(probe, places, kind) if kind else self.rotary(probe, places)
            self.angles[kind] = cos[0], sin[0]

    def prefill(self, prompts: Sequence[list[int]], slots: Sequence[int], cache: KVCache) -> Tensor:
        """Read prompts (ids of each) into their slots; logits [B, V] after their last tokens. See `prefill.py`."""
        return torch.cat([batch.read(self, cache) for batch in batches(self, prompts, slots)])

    def step(self, ids: Tensor, positions: Tensor, length: int, cache: KVCache) -> Tensor:
        """One more token for slots 0..B-1: ids [B] at `positions` [B], all below `length`; logits [B, V] of the next."""
        where = Where(positions, length)
        angles = self.angles_at(positions)

        def attend(layer: int, qkv: Tensor) -> Tensor:
            return self.kernels.attend(layer, qkv, angles.get(self.shape.ropes[layer]), where, cache)

        return self.logits(self.run(self.embedded(ids), positions, attend))

    def angles_at(self, positions: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """cos and sin [T, D] of each kind at positions [T]."""
        return {kind: (cos[positions], sin[positions]) for kind, (cos, sin) in self.angles.items()}

    def embedded(self, ids: Tensor) -> Tensor:
        """Embeddings [..., E] of tokens, before positions."""
        x = F.embedding(ids, self.weights.embed)
        return x if self.scale is None else x * self.scale

    def run(self, x: Tensor, positions: Tensor, attend: Callable[[int, Tensor], Tensor]) -> Tensor:
        """All layers over embeddings [..., E] at positions [last of ...] -> hidden [..., E], in the residual stream's dtype.

        `attend(layer, qkv)` reads [..., H + 2 K, D], queries and keys not rotated yet, and gives [..., H D].
        """
        if self.weights.positions is not None:
            x = x + F.embedding(positions, self.weights.positions)
        lead, after, kernels = x.shape[:-1], self.extras.after, self.kernels
        x, more = x.to(kernels.stream), None
        for number, layer in enumerate(self.weights.layers):
            x, read = kernels.add_norm(x, more, layer.norm)
            qkv = layer.qkv(read).view(*lead, -1, self.head_dim)
            if layer.qk_norm is not None:
                qk = qkv[..., : self.heads + self.kv_heads, :]
                qk.copy_(kernels.norm(qk, layer.qk_norm))
            mixed = after(number, "attention", layer.out(attend(number, qkv)))
            if layer.attention_norm is not None:
                mixed = kernels.norm(mixed, layer.attention_norm)
            if self.shape.parallel:
                more = self._mlp(number, layer, read if layer.mlp_norm is None else kernels.norm(x, layer.mlp_norm)) + mixed
            else:
                assert layer.mlp_norm is not None
                x, read = kernels.add_norm(x, mixed, layer.mlp_norm)
                more = self._mlp(number, layer, read)
        return x if more is None else x + more

    def _mlp(self, number: int, layer: Layer, x: Tensor) -> Tensor:
        y = layer.up(x)
        y = self.kernels.gate(y) if self.family.gated else self.kernels.activation(y)
        y = self.extras.after(number, "mlp", layer.down(y))
        return y if layer.out_norm is None else self.kernels.norm(y, layer.out_norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits [B, V] of hidden states [B, E], in the weights' dtype."""
        logits = self.weights.head(self.kernels.norm(hidden, self.weights.norm))
        bound = self.shape.logit_softcap
        return logits if bound is None else torch.tanh(logits / bound) * bound
