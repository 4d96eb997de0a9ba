"""Attention for short rows: plain matrix products where the fused kernel is the slower one.

On a CPU, torch's fused attention is built for long rows; at 100 tokens in bf16 its forward and backward take three times as
long as two batched products and a softmax. The key-value heads are not repeated: the query heads that share one stand in
its batch.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

Tensor = torch.Tensor
NAME = "plaudit"
SHORT = 512
"""Tokens up to which the scores [rows, heads, T, T] are formed."""


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention with transformers' interface: query [R, H, T, D], key and value [R, K, T, D] -> [R, T, H, D].

    attention_mask [1 or R, 1, T, T] bool, True where a query may look; None is causal. Scores and softmax are at least float32.
    softcap bounds the scores: softcap * tanh(score / softcap) (Gemma 2, arXiv 2408.00118); no fused kernel of torch does it.
    """
    rows, heads, length, width = query.shape
    if softcap is None and (query.device.type != "cpu" or length > SHORT):
        group = heads // key.shape[1]
        out = F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, 1),
            value.repeat_interleave(group, 1),
            attn_mask=attention_mask,
            is_causal=attention_mask is None,
            scale=scaling,
        )
        return out.transpose(1, 2).contiguous(), None
    kv_heads = key.shape[1]
    folded = (query * scaling).reshape(rows, kv_heads, -1, width)
    scores = (folded @ key.transpose(-1, -2)).view(rows, heads, length, length)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    allowed = attention_mask
    if allowed is None:
        allowed = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1).to(value.dtype)
    out = weights.view(rows, kv_heads, -1, length) @ value
    return out.view(rows, heads, length, width).transpose(1, 2).contiguous(), None


def use(model: Any) -> None:
    """Let a model that is run layer by layer (see `forward.has_plain_layers`) attend with this."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    model.config._attn_implementation = NAME
