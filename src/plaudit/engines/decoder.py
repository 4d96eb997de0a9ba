"""The decoder of every family in `models/families.py`, for generation: fused weights of its own, a cache, no graph.

The maths is that of transformers, operation by operation where rounding could differ: norms and rotary angles in float32,
softmax inside scaled_dot_product_attention, matrix products in the weights' dtype.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN

from plaudit.engines.extras import Extras
from plaudit.engines.kv_cache import KVCache
from plaudit.engines.weights import Layer, Norm, Weights
from plaudit.models.families import architecture, context, ropes, rotary_class, steady_length, unknown
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

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.config, self.dtype, self.device = config, dtype, device
        self.shape = shape = architecture(config)
        self.family = shape.family
        self.heads, self.kv_heads, self.head_dim = shape.heads, shape.kv_heads, shape.head_dim
        self.weights = Weights(config, shape, dtype, device)
        self.layers = self.weights.layers
        self.extras = Extras(config, dtype, device)
        self.activation = ACT2FN[shape.activation]
        self.scale = None
        if shape.embedding_scale is not None:  # rounded to float32 first, as transformers keeps it
            self.scale = torch.tensor(shape.embedding_scale, dtype=torch.float32).to(device, dtype)
        self.rotary = rotary_class(self.family)(config).to(device) if self.family.rotary else None
        self.angles: dict[str, tuple[Tensor, Tensor]] = {}
        """cos and sin [length, D] of each kind of rotary angles."""
        self.length = 0

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

    def prefill(self, ids: Tensor, lengths: Tensor, cache: KVCache, slots: Tensor) -> Tensor:
        """Read prompts ids [B, T], right-padded, of `lengths` [B] into `slots` [B]; logits [B, V] after their last tokens.

        Padding stands behind every real token, so causal attention alone keeps it out. Virtual tokens stand at the first
        places of each slot.
        """
        x, prompt, before = self._embedded(ids), self.extras.prompt, self.extras.virtual
        if prompt is not None:
            x, before = torch.cat([prompt.expand(len(ids), -1, -1), x], 1), 0
        rows, width = x.shape[:2]
        group = self.heads // self.kv_heads
        places = torch.arange(before + width, device=self.device)
        masks = {window: self._prefill_mask(places, window, before) for window in {*self.shape.windows}}

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            k, v = k.transpose(1, 2), v.transpose(1, 2)
            if front := self.extras.before(layer):
                k, v = (torch.cat([part.expand(rows, -1, -1, -1), own], 2) for part, own in zip(front, (k, v), strict=True))
            cache.put_prompts(layer, slots, k, v)
            # Repeated by hand: `enable_gqa` leaves the fast kernel on CPU.
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            return self._mix(layer, q.transpose(1, 2), k, v, masks[self.shape.windows[layer]]).transpose(1, 2)

        hidden = self._run(x, places[before:], attend)
        last = lengths - 1 + (0 if prompt is None else len(prompt))
        return self._logits(hidden[torch.arange(rows, device=ids.device), last])

    def _prefill_mask(self, places: Tensor, window: int | None, before: int) -> Tensor | None:
        """What each token of a prompt sees, [T, before + T]: 0 or -inf; None where the kernel's own causal rule does."""
        if window is not None and window >= len(places):
            window = None
        if window is None and self.shape.attention_softcap is None and not before:
            return None
        distance = places[before:, None] - places
        unseen = distance < 0
        if window is not None:
            unseen = unseen | (distance >= window)
        return torch.zeros(distance.shape, dtype=self.dtype, device=self.device).masked_fill_(unseen, float("-inf"))

    def step(self, ids: Tensor, positions: Tensor, length: int, cache: KVCache) -> Tensor:
        """One more token for slots 0..B-1: ids [B] at `positions` [B], all below `length`; logits [B, V] of the next.

        The query heads that share a key-value head stand as its queries, so the cache is read in place and once.
        """
        rows, group = ids.shape[0], self.heads // self.kv_heads
        places = cache.places(positions)
        masks = {window: self._step_mask(positions, length, window) for window in {*self.shape.windows}}

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.put_step(layer, places, k, v)
            q = q.reshape(rows, self.kv_heads, group, self.head_dim)
            return self._mix(layer, q, *cache.window(layer, rows, length), masks[self.shape.windows[layer]])

        return self._logits(self._run(self._embedded(ids), positions, attend))

    def _step_mask(self, positions: Tensor, length: int, window: int | None) -> Tensor:
        """What each row's newest token sees of its slot, [B, K, H / K, length]: 0 or -inf."""
        rows, group = len(positions), self.heads // self.kv_heads
        distance = positions[:, None] - torch.arange(length, device=self.device)
        unseen = distance < 0
        if window is not None and window < length:
            unseen = unseen | (distance >= window)
        mask = torch.zeros(rows, 1, 1, length, dtype=self.dtype, device=self.device)
        return mask.masked_fill_(unseen[:, None, None], float("-inf")).expand(rows, self.kv_heads, group, length)

    def _mix(self, layer: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """Attention of q [..., T, D] on k and v [..., S, D]; without a mask it is causal. A softcap has a mask."""
        scale, bound = self.shape.scales[layer], self.shape.attention_softcap
        if bound is None or mask is None:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale)
        scores = q @ k.transpose(-1, -2) * (scale or self.head_dim**-0.5)
        scores = torch.tanh(scores / bound) * bound + mask
        return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(-1).to(v.dtype) @ v

    def _embedded(self, ids: Tensor) -> Tensor:
        """Embeddings [..., E] of tokens, before positions."""
        x = F.embedding(ids, self.weights.embed)
        return x if self.scale is None else x * self.scale

    def _run(self, x: Tensor, positions: Tensor, attend: Any) -> Tensor:
        """All layers over embeddings [..., E] at positions [last of ...]; `attend(layer, q, k, v)` with [..., heads, D] each.

        Returns hidden [..., E].
        """
        if self.weights.positions is not None:
            x = x + F.embedding(positions, self.weights.positions)
        angles = {kind: (cos[positions][:, None], sin[positions][:, None]) for kind, (cos, sin) in self.angles.items()}
        lead, after = x.shape[:-1], self.extras.after
        turned = self.heads + self.kv_heads
        for number, layer in enumerate(self.layers):
            read = self._normed(x, layer.norm)
            qkv = F.linear(read, layer.qkv, layer.qkv_bias).view(*lead, -1, self.head_dim)
            qk = qkv[..., :turned, :]
            if layer.qk_norm is not None:
                qk = self._normed(qk, layer.qk_norm)
            if angles:
                qk = _rotate(qk, *angles[self.shape.ropes[number]])
            mixed = attend(number, qk[..., : self.heads, :], qk[..., self.heads :, :], qkv[..., turned:, :])
            mixed = after(number, "attention", F.linear(mixed.reshape(*lead, -1), layer.out, layer.out_bias))
            if layer.attention_norm is not None:
                mixed = self._normed(mixed, layer.attention_norm)
            if not self.shape.parallel:
                x = x + mixed
            y = self._mlp(number, layer, read if layer.mlp_norm is None else self._normed(x, layer.mlp_norm))
            x = y + mixed + x if self.shape.parallel else x + y
        return x

    def _mlp(self, number: int, layer: Layer, x: Tensor) -> Tensor:
        y = F.linear(x, layer.up, layer.up_bias)
        if self.family.gated:
            gate, up = y.chunk(2, -1)
            y = self.activation(gate) * up
        else:
            y = self.activation(y)
        y = self.extras.after(number, "mlp", F.linear(y, layer.down, layer.down_bias))
        return y if layer.out_norm is None else self._normed(y, layer.out_norm)

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits [B, V] of hidden states [B, E], at least float32."""
        logits = F.linear(self._normed(hidden, self.weights.norm), self.weights.head, self.weights.head_bias)
        if (bound := self.shape.logit_softcap) is not None:
            logits = torch.tanh(logits / bound) * bound
        return logits if logits.dtype == torch.float64 else logits.float()

    def _normed(self, x: Tensor, norm: Norm) -> Tensor:
        """LayerNorm, or RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467) in float32 whatever the dtype, as in transformers.

        Llama multiplies with the weight after rounding to the dtype, Gemma with 1 + weight before.
        """
        if self.family.layer_norm:
            return F.layer_norm(x, (x.shape[-1],), norm.weight, norm.bias, self.shape.eps)
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.shape.eps)
        return (y * (1.0 + norm.weight.float())).to(x.dtype) if self.family.unit_offset else norm.weight * y.to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of x [..., heads, D], halves layout.

    Only the first dimensions are turned where the angles are fewer than D.
    """
    width = cos.shape[-1]
    if width < x.shape[-1]:
        return torch.cat((_rotate(x[..., :width], cos, sin), x[..., width:]), -1)
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin
