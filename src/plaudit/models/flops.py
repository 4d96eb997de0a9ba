"""FLOPs and parameters of a decoder, from the numbers of its config and counts of tokens alone. No weights, no torch.

A multiplication and an addition are two FLOPs; only matrix products are counted (Kaplan et al. 2020, arXiv 2001.08361, section
2.1). With n tokens, of which a head scores `pairs` of query and key, and logits on m of them:

    forward   F = 2 n (L W) + 4 pairs (L H D) + 2 m V E          W weights of a layer's matrices, H D all query heads
    backward  the same once for the gradient of the inputs, and once more for that of the weights where they are trained

`pairs` is a sum over rows: T^2 of a row of T tokens where the whole square of scores is formed, T (T + 1) / 2 of it is needed;
decoding one token at context c forms c.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Shape:
    """The numbers of a decoder that decide its FLOPs and its cache."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    """Width of the MLP."""
    vocabulary: int
    gated: bool = True
    """The MLP has a gate beside its input matrix."""
    tied: bool = True
    """Embedding and output head are one matrix."""

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each matrix of one layer: q, k, v, out, the gate where there is one, up, down."""
        d, h, k, f = self.width, self.heads * self.head_dim, self.kv_heads * self.head_dim, self.inner
        return [(d, h), (d, k), (d, k), (h, d), *[(d, f)] * (1 + self.gated), (f, d)]

    @property
    def layer(self) -> int:
        """Weights of one layer's matrices; norms and biases are left out."""
        return sum(inputs * outputs for inputs, outputs in self.sizes)

    @property
    def matrices(self) -> int:
        """Weights of all layers' matrices."""
        return self.layers * self.layer

    @property
    def head(self) -> int:
        """Weights of the output head."""
        return self.vocabulary * self.width

    def cache(self, bytes_each: int) -> int:
        """Bytes that the keys and values of one token take in all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * bytes_each


def shape_of(config: Any) -> Shape:
    """The shape by a transformers config. Of families that plaudit does not know, by the usual names of options."""
    from plaudit.models.families import architecture, unknown

    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    heads = text.num_attention_heads
    common = {
        "layers": text.num_hidden_layers,
        "width": text.hidden_size,
        "heads": heads,
        "vocabulary": text.vocab_size,
        "tied": bool(text.tie_word_embeddings),
    }
    if unknown(text) is None:
        made = architecture(text)
        return Shape(**common, kv_heads=made.kv_heads, head_dim=made.head_dim, inner=made.inner, gated=made.family.gated)
    inner = next(
        (n for name in ("intermediate_size", "n_inner", "ffn_dim") if (n := getattr(text, name, None))), 4 * text.hidden_size
    )
    return Shape(
        **common,
        kv_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_dim=getattr(text, "head_dim", None) or text.hidden_size // heads,
        inner=inner,
        gated=getattr(text, "hidden_act", "") == "silu",
    )


def square(lengths: Iterable[int]) -> int:
    """Pairs of query and key where the whole square is formed for each row."""
    return sum(length * length for length in lengths)


def causal(lengths: Iterable[int]) -> int:
    """Pairs of query and key that a causal model needs."""
    return sum(length * (length + 1) // 2 for length in lengths)


def decoded(prompt: int, answer: int) -> int:
    """Pairs that decoding forms for one answer: its first token comes out of the prompt's pass, the others look back."""
    steps = max(0, answer - 1)
    return steps * (prompt + 1) + steps * (steps - 1) // 2


def forward(shape: Shape, tokens: float, pairs: float, logits: float = 0, *, layers: int | None = None) -> float:
    """FLOPs of a forward pass over so many tokens (padding counted) through all or so many layers."""
    count = shape.layers if layers is None else layers
    attention = 4 * count * shape.heads * shape.head_dim * pairs
    return 2 * count * shape.layer * tokens + attention + 2 * shape.head * logits


def backward(
    shape: Shape,
    tokens: float,
    pairs: float,
    logits: float = 0,
    *,
    weights: bool,
    layers: int | None = None,
    again: bool = False,
) -> float:
    """FLOPs of the backward pass of `forward`'s.

    weights  the matrices are trained; else gradients only pass through them (adapters)
    again    activations are computed anew, a forward pass more (gradient checkpointing)
    The gradient of the hidden states under the output head is made with the logits themselves, which are formed anew only for
    a trained head's own gradient (core/logprob.py).
    """
    count = shape.layers if layers is None else layers
    products = 2 * count * shape.layer * tokens * (2 if weights else 1)
    attention = 8 * count * shape.heads * shape.head_dim * pairs
    more = forward(shape, tokens, pairs, layers=count) if again else 0.0
    return products + attention + more + 2 * shape.head * logits * (3 if weights else 1)


def adapters(parameters: float, tokens: float, *, training: bool) -> float:
    """FLOPs that adapters' matrices add: 2 for each weight and token.

    The backward pass has the gradients of inputs and of weights, and the narrow product once more (`models/fused.py`).
    """
    return 2 * parameters * tokens * (4 if training else 1)
