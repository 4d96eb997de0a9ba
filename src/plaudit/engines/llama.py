"""The Llama family's decoder for generation: fused weights of its own, a cache, no graph.

The maths is that of transformers' modeling_llama.py, operation by operation where rounding could differ: RMSNorm in float32,
rotary angles in float32, softmax inside scaled_dot_product_attention, matrix products in the weights' dtype.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from plaudit.engines.extras import Extras, is_extra
from plaudit.engines.kv_cache import KVCache
from plaudit.schema import UserError

FAMILIES = ("llama",)
ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3")
"""Those whose frequencies do not change with the length, as long as it stays within max_position_embeddings."""


@dataclass(frozen=True)
class Layer:
    """One layer's weights: q, k, v in one matrix, gate and up in one. Biases are None where the config has none."""

    norm: Tensor
    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


def check_family(config: Any, max_length: int) -> None:
    """Refuse a model this decoder cannot compute. Raises UserError naming what is supported."""
    if config.model_type not in FAMILIES:
        raise UserError(
            f"the torch engine cannot generate with a model of type {config.model_type!r}; "
            f"supported families: {', '.join(FAMILIES)}."
        )
    kind = config.rope_parameters["rope_type"]
    if kind not in ROPE_TYPES:
        raise UserError(f"the torch engine does not know the rope type {kind!r}; supported: {', '.join(ROPE_TYPES)}.")
    if max_length > config.max_position_embeddings:
        raise UserError(
            f"max_length {max_length} is more than the model can read "
            f"(max_position_embeddings {config.max_position_embeddings})."
        )


class LlamaDecoder:
    """Weights and forward passes. H query heads, K key-value heads, D head size, V vocabulary, E hidden size."""

    def __init__(self, config: Any, dtype: torch.dtype, device: torch.device) -> None:
        self.config, self.dtype, self.device = config, dtype, device
        self.heads, self.kv_heads, self.head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.eps = config.rms_norm_eps
        self.activation = ACT2FN[config.hidden_act]
        self.rotary = LlamaRotaryEmbedding(config).to(device)
        self.cos = self.sin = torch.empty(0, self.head_dim, dtype=dtype, device=device)
        self.places: dict[str, Tensor] = {}
        """Hugging Face parameter name -> the part of our buffers that it fills."""
        self.embed = self._own(config.vocab_size, config.hidden_size, name="model.embed_tokens.weight")
        self.norm = self._own(config.hidden_size, name="model.norm.weight")
        self.layers = [self._layer(f"model.layers.{i}") for i in range(config.num_hidden_layers)]
        self.extras = Extras(config, dtype, device)
        self.head = self.embed
        if config.tie_word_embeddings:
            self.places["lm_head.weight"] = self.embed
        else:
            self.head = self._own(config.vocab_size, config.hidden_size, name="lm_head.weight")

    def _own(self, *shape: int, name: str | None = None) -> Tensor:
        buffer = torch.zeros(shape, dtype=self.dtype, device=self.device)
        if name:
            self.places[name] = buffer
        return buffer

    def _fused(self, prefix: str, parts: dict[str, int], inputs: int, bias: bool) -> tuple[Tensor, Tensor | None]:
        """One matrix [sum of the parts' outputs, inputs] and bias; each part is a slice of rows that its own name fills."""
        weight = self._own(sum(parts.values()), inputs)
        shift = self._own(sum(parts.values())) if bias else None
        for (name, rows), start in zip(parts.items(), _starts(parts.values()), strict=True):
            self.places[f"{prefix}.{name}.weight"] = weight[start : start + rows]
            if shift is not None:
                self.places[f"{prefix}.{name}.bias"] = shift[start : start + rows]
        return weight, shift

    def _layer(self, prefix: str) -> Layer:
        config = self.config
        width, inner = config.hidden_size, config.intermediate_size
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
        return Layer(
            self._own(width, name=f"{prefix}.input_layernorm.weight"),
            *self._fused(attention, {"q_proj": q, "k_proj": kv, "v_proj": kv}, width, config.attention_bias),
            *self._fused(attention, {"o_proj": width}, q, config.attention_bias),
            self._own(width, name=f"{prefix}.post_attention_layernorm.weight"),
            *self._fused(mlp, {"gate_proj": inner, "up_proj": inner}, width, config.mlp_bias),
            *self._fused(mlp, {"down_proj": width}, inner, config.mlp_bias),
        )

    @torch.no_grad()
    def load(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Copy weights into the buffers in place. Tied models may send lm_head.weight, embed_tokens.weight or both, equal.
        What an adapter adds (see `extras`) takes the place of what was there.

        Raises UserError for a name or shape that the model does not have, a name that never came, and tied weights that differ.
        """
        missing = set(self.places)
        self.extras = Extras(self.config, self.dtype, self.device)
        for name, tensor in weights:
            if is_extra(name):
                self.extras.put(name, tensor)
                continue
            place = self.places.get(name)
            if place is None:
                raise UserError(
                    f"the weights hold {name!r}, which this model does not have (merge adapters before sending weights)."
                )
            if place.shape != tensor.shape:
                raise UserError(f"weight {name!r} has shape {list(tensor.shape)}, the model's is {list(place.shape)}.")
            if place is self.embed and self.config.tie_word_embeddings:
                twin = {"lm_head.weight", "model.embed_tokens.weight"} - {name}
                if not twin & missing and not torch.equal(place, tensor.to(place)):
                    raise UserError("the model ties lm_head.weight to embed_tokens.weight, but the two that were sent differ.")
            place.copy_(tensor)
            missing.discard(name)
        if self.config.tie_word_embeddings and len(tied := {"lm_head.weight", "model.embed_tokens.weight"} & missing) == 1:
            missing -= tied
        if missing:
            raise UserError(f"{len(missing)} of {len(self.places)} weights did not come, {min(missing)!r} among them.")

    def reserve(self, length: int) -> None:
        """Tables of the rotary angles for positions 0..length-1."""
        if len(self.cos) < length:
            probe = torch.empty(0, dtype=self.dtype, device=self.device)
            cos, sin = self.rotary(probe, torch.arange(length, device=self.device)[None])
            self.cos, self.sin = cos[0], sin[0]

    def prefill(self, ids: Tensor, lengths: Tensor, cache: KVCache, slots: Tensor) -> Tensor:
        """Read prompts ids [B, T], right-padded, of `lengths` [B] into `slots` [B]; logits [B, V] after their last tokens.

        Padding stands behind every real token, so causal attention alone keeps it out. Virtual tokens stand at the first
        places of each slot.
        """
        x = F.embedding(ids, self.embed)
        prompt, start = self.extras.prompt, self.extras.virtual
        if prompt is not None:
            x, start = torch.cat([prompt.expand(len(ids), -1, -1), x], 1), 0
        rows, width = x.shape[:2]
        cos, sin = self.cos[start : start + width, None], self.sin[start : start + width, None]
        group = self.heads // self.kv_heads
        mask = torch.ones(width, start + width, dtype=torch.bool, device=x.device).tril(start) if start else None

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            k, v = k.transpose(1, 2), v.transpose(1, 2)
            if before := self.extras.before(layer):
                k, v = (torch.cat([part.expand(rows, -1, -1, -1), own], 2) for part, own in zip(before, (k, v), strict=True))
            cache.put_prompts(layer, slots, k, v)
            # Repeated by hand: `enable_gqa` leaves the fast kernel on CPU.
            k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
            q = q.transpose(1, 2)
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None).transpose(1, 2)

        hidden = self._run(x, cos, sin, attend)
        last = lengths - 1 + (0 if prompt is None else len(prompt))
        return self._logits(hidden[torch.arange(rows, device=ids.device), last])

    def step(self, ids: Tensor, positions: Tensor, length: int, cache: KVCache) -> Tensor:
        """One more token for slots 0..B-1: ids [B] at `positions` [B], all below `length`; logits [B, V] of the next.

        The query heads that share a key-value head stand as its queries, so the cache is read in place and once.
        """
        rows, group = ids.shape[0], self.heads // self.kv_heads
        cos, sin = self.cos[positions][:, None], self.sin[positions][:, None]
        places = cache.places(positions)
        mask = torch.zeros(rows, 1, 1, length, dtype=self.dtype, device=self.device)
        mask.masked_fill_((torch.arange(length, device=self.device) > positions[:, None])[:, None, None], float("-inf"))
        mask = mask.expand(rows, self.kv_heads, group, length)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            cache.put_step(layer, places, k, v)
            q = q.reshape(rows, self.kv_heads, group, self.head_dim)
            return F.scaled_dot_product_attention(q, *cache.window(layer, rows, length), attn_mask=mask)

        return self._logits(self._run(F.embedding(ids, self.embed), cos, sin, attend))

    def _run(self, x: Tensor, cos: Tensor, sin: Tensor, attend: Any) -> Tensor:
        """All layers over embeddings [..., E]; `attend(layer, q, k, v)` with [..., heads, D] each. Returns hidden [..., E]."""
        lead, after = x.shape[:-1], self.extras.after
        turned = self.heads + self.kv_heads
        for number, layer in enumerate(self.layers):
            qkv = F.linear(self._rms(x, layer.norm), layer.qkv, layer.qkv_bias).view(*lead, -1, self.head_dim)
            qk = _rotate(qkv[..., :turned, :], cos, sin)
            mixed = attend(number, qk[..., : self.heads, :], qk[..., self.heads :, :], qkv[..., turned:, :])
            x = x + after(number, "attention", F.linear(mixed.reshape(*lead, -1), layer.out, layer.out_bias))
            gate, up = F.linear(self._rms(x, layer.mlp_norm), layer.gate_up, layer.gate_up_bias).chunk(2, -1)
            x = x + after(number, "mlp", F.linear(self.activation(gate) * up, layer.down, layer.down_bias))
        return x

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits [B, V] of hidden states [B, E], at least float32."""
        logits = F.linear(self._rms(hidden, self.norm), self.head)
        return logits if logits.dtype == torch.float64 else logits.float()

    def _rms(self, x: Tensor, weight: Tensor) -> Tensor:
        """RMSNorm (Zhang and Sennrich 2019, arXiv 1910.07467), in float32 whatever the dtype, as transformers has it."""
        y = x.float()
        return weight * (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


def _starts(sizes: Iterable[int]) -> list[int]:
    """Where each of the consecutive parts begins: [3, 2, 2] -> [0, 3, 5]."""
    starts, at = [], 0
    for size in sizes:
        starts.append(at)
        at += size
    return starts


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding (Su et al. 2021, arXiv 2104.09864) of x [..., heads, D], halves layout."""
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat((-right, left), -1) * sin
