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
    """Causal attention with transformers' interface: query [R, H, T, D], key and value [R, K, S, D] -> [R, T, H, D].

    attention_mask [1 or R, 1, T, S] bool, True where a query may look; None is causal, the queries being the last T of the S
    places. Scores and softmax are at least float32. softcap bounds the scores: softcap * tanh(score / softcap) (Gemma 2, arXiv
    2408.00118); no fused kernel of torch does it.
    """
    rows, heads, length, width = query.shape
    reach = key.shape[2]
    allowed = attention_mask
    if softcap is None and (query.device.type != "cpu" or length > SHORT):
        group = heads // key.shape[1]
        if allowed is None and reach > length:  # torch's own causal mask would let queries look at the first places only
            allowed = _causal(length, reach, query.device)
        out = F.scaled_dot_product_attention(
            query,
            key.repeat_interleave(group, 1),
            value.repeat_interleave(group, 1),
            attn_mask=allowed,
            is_causal=allowed is None,
            scale=scaling,
        )
        return out.transpose(1, 2).contiguous(), None
    kv_heads = key.shape[1]
    folded = (query * scaling).reshape(rows, kv_heads, -1, width)
    scores = (folded @ key.transpose(-1, -2)).view(rows, heads, length, reach)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if allowed is None:
        allowed = _causal(length, reach, query.device)
    weights = scores.masked_fill(~allowed, float("-inf")).softmax(-1).to(value.dtype)
    out = weights.view(rows, kv_heads, -1, reach) @ value
    return out.view(rows, heads, length, width).transpose(1, 2).contiguous(), None


def _causal(length: int, reach: int, device: torch.device) -> Tensor:
    """[T, S] bool: query t looks at the places 0 .. t + S - T."""
    return torch.ones(length, reach, dtype=torch.bool, device=device).tril(reach - length)


def use(model: Any) -> None:
    """Let a model that is run layer by layer (see `forward.has_plain_layers`) attend with this."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)
    model.config._attn_implementation = NAME
