"""The model families that are run by code of ours: what their decoders are made of, and what transformers calls the parts.

One table for both users of it: the memory-lean forward, which runs transformers' own layers one by one, and the engine's
decoder, which computes them itself. A model that is not described here, or has an option that is not, is run whole by
transformers in both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

LAYER_TYPES = {"full_attention", "sliding_attention"}
UNLIMITED = 1 << 20
"""Tokens that a model without a stated context (ALiBi, state spaces) may read."""


@dataclass(frozen=True)
class Family:
    """Names of the parts (attributes of transformers' decoder, prefixes of its parameters) and how they are put together."""

    rotary: str = ""
    """Class of the rotary embedding in transformers; "" where there is none."""
    root: str = "model"
    embed: str = "embed_tokens"
    positions: str = ""
    """Table of learned positions, added to the embeddings."""
    layers: str = "layers"
    final_norm: str = "norm"
    input_norm: str = "input_layernorm"
    attention_norm: str = ""
    """Norm of what attention gives, before it is added."""
    mlp_input_norm: str = "post_attention_layernorm"
    """"" where the MLP reads what attention reads (Phi)."""
    mlp_norm: str = ""
    """Norm of what the MLP gives, before it is added."""
    query_norm: str = ""
    key_norm: str = ""
    """Norms of each head's queries and keys, before they are turned."""
    qkv: tuple[str, ...] = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    """Three matrices, or one that holds all rows of q, then of k, then of v."""
    qkv_by_head: bool = False
    """The one matrix holds q, k and v of the first head, then of the second ... (GPT-NeoX)."""
    out: str = "self_attn.o_proj"
    up: tuple[str, ...] = ("mlp.gate_proj", "mlp.up_proj")
    """Gate and up, one matrix with both, or (not gated) up alone."""
    down: str = "mlp.down_proj"
    gated: bool = True
    layer_norm: bool = False
    """LayerNorm with biases; else RMSNorm."""
    unit_offset: bool = False
    """RMSNorm multiplies with 1 + weight, in float32 (Gemma)."""
    transposed: bool = False
    """Weights are stored [inputs, outputs] (GPT-2's Conv1D)."""
    qkv_bias: bool | str = False
    """Yes, no, or the option of the config that says so; likewise the next three."""
    out_bias: bool | str = False
    mlp_bias: bool | str = False
    head_bias: bool = False
    parallel: bool | str = False
    """Attention and MLP read the same hidden states, and both are added to them."""
    activation: str = "hidden_act"
    """Option that names the MLP's activation; likewise the next two."""
    eps: str = "rms_norm_eps"
    scalar: str = ""
    """Option whose inverse square root scales the scores; "" is the head size."""
    scaled_embedding: bool = False
    """Embeddings are multiplied with the square root of their width (Gemma)."""
    windows: str = ""
    """"all": `sliding_window` holds for every layer; "typed": for those that `layer_types` names; "" where there is none."""
    ropes_by_type: bool = False
    """Each layer type has rotary angles of its own (Gemma 3)."""
    scaled_by_options: bool = False
    """GPT-2's `scale_attn_weights` and `scale_attn_by_inverse_layer_idx`."""
    own_head_dim: bool = True
    """The config may set `head_dim`; else it follows from the width."""
    attention_softcap: str = ""
    """Option with the bound of the scores, bound * tanh(score / bound) (Gemma 2); likewise for the logits."""
    logit_softcap: str = ""
    odd: tuple[tuple[str, Any], ...] = ()
    """(option, its one value that is described here)."""


LLAMA = Family(
    rotary="llama.modeling_llama:LlamaRotaryEmbedding",
    qkv_bias="attention_bias",
    out_bias="attention_bias",
    mlp_bias="mlp_bias",
)
GEMMA = Family(
    rotary="gemma.modeling_gemma:GemmaRotaryEmbedding",
    qkv_bias="attention_bias",
    out_bias="attention_bias",
    unit_offset=True,
    scaled_embedding=True,
    odd=(("use_bidirectional_attention", False),),
)
GEMMA2 = replace(
    GEMMA,
    rotary="gemma2.modeling_gemma2:Gemma2RotaryEmbedding",
    attention_norm="post_attention_layernorm",
    mlp_input_norm="pre_feedforward_layernorm",
    mlp_norm="post_feedforward_layernorm",
    activation="hidden_activation",
    scalar="query_pre_attn_scalar",
    windows="typed",
    attention_softcap="attn_logit_softcapping",
    logit_softcap="final_logit_softcapping",
)
FAMILIES = {
    "llama": LLAMA,
    "mistral": Family(rotary="mistral.modeling_mistral:MistralRotaryEmbedding", windows="all"),
    "qwen2": Family(rotary="qwen2.modeling_qwen2:Qwen2RotaryEmbedding", qkv_bias=True, windows="typed"),
    "qwen3": Family(
        rotary="qwen3.modeling_qwen3:Qwen3RotaryEmbedding",
        qkv_bias="attention_bias",
        out_bias="attention_bias",
        query_norm="self_attn.q_norm",
        key_norm="self_attn.k_norm",
        windows="typed",
    ),
    "gemma": GEMMA,
    "gemma2": GEMMA2,
    "gemma3_text": replace(
        GEMMA2,
        rotary="gemma3.modeling_gemma3:Gemma3RotaryEmbedding",
        query_norm="self_attn.q_norm",
        key_norm="self_attn.k_norm",
        ropes_by_type=True,
        attention_softcap="",
        odd=(*GEMMA.odd, ("attn_logit_softcapping", None)),
    ),
    "phi3": Family(
        rotary="phi3.modeling_phi3:Phi3RotaryEmbedding",
        qkv=("self_attn.qkv_proj",),
        up=("mlp.gate_up_proj",),
        windows="all",
    ),
    "phi": Family(
        rotary="phi.modeling_phi:PhiRotaryEmbedding",
        final_norm="final_layernorm",
        mlp_input_norm="",
        out="self_attn.dense",
        up=("mlp.fc1",),
        down="mlp.fc2",
        gated=False,
        layer_norm=True,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        head_bias=True,
        parallel=True,
        eps="layer_norm_eps",
        odd=(("qk_layernorm", False),),
    ),
    "gpt_neox": Family(
        rotary="gpt_neox.modeling_gpt_neox:GPTNeoXRotaryEmbedding",
        root="gpt_neox",
        embed="embed_in",
        final_norm="final_layer_norm",
        qkv=("attention.query_key_value",),
        qkv_by_head=True,
        out="attention.dense",
        up=("mlp.dense_h_to_4h",),
        down="mlp.dense_4h_to_h",
        gated=False,
        layer_norm=True,
        qkv_bias="attention_bias",
        out_bias="attention_bias",
        mlp_bias=True,
        parallel="use_parallel_residual",
        eps="layer_norm_eps",
        own_head_dim=False,
    ),
    "gpt2": Family(
        root="transformer",
        embed="wte",
        positions="wpe",
        layers="h",
        final_norm="ln_f",
        input_norm="ln_1",
        mlp_input_norm="ln_2",
        qkv=("attn.c_attn",),
        out="attn.c_proj",
        up=("mlp.c_fc",),
        down="mlp.c_proj",
        gated=False,
        layer_norm=True,
        transposed=True,
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        activation="activation_function",
        eps="layer_norm_epsilon",
        scaled_by_options=True,
        own_head_dim=False,
        odd=(("add_cross_attention", False),),
    ),
}


@dataclass(frozen=True)
class Architecture:
    """A family with the numbers of one model's config. Tuples have one entry for each layer."""

    family: Family
    heads: int
    kv_heads: int
    head_dim: int
    inner: int
    """Width of the MLP."""
    eps: float
    activation: str
    qkv_bias: bool
    out_bias: bool
    mlp_bias: bool
    parallel: bool
    embedding_scale: float | None
    scales: tuple[float | None, ...]
    """What attention scores are multiplied with; None is the usual 1 / sqrt(head_dim)."""
    windows: tuple[int | None, ...]
    """How many tokens a query sees, itself included; None is all before it."""
    ropes: tuple[str, ...]
    """Which rotary angles; one name for all layers unless the family has angles by layer type (Gemma 3)."""
    attention_softcap: float | None
    logit_softcap: float | None


def unknown(config: Any) -> str | None:
    """Why a model of this config is not described by the table; None where it is."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        return f"models of type {config.model_type!r} are not among {', '.join(FAMILIES)}"
    if not type(config).__module__.startswith("transformers."):
        return f"its {type(config).__name__} is code that came with the model"
    for option, value in family.odd:
        if (found := getattr(config, option, value)) != value and (found or value):
            return f"{config.model_type} with {option}={found!r} is not known"
    if family.windows == "typed" and (more := set(config.layer_types) - LAYER_TYPES):
        return f"layers of type {', '.join(sorted(more))} are not known"
    return None


def architecture(config: Any) -> Architecture:
    """The parts and numbers of a model that the table describes (`unknown` is None)."""
    family, depth = FAMILIES[config.model_type], config.num_hidden_layers

    def option(value: bool | str) -> bool:
        return bool(getattr(config, value)) if isinstance(value, str) else value

    def number(name: str) -> float | None:
        return getattr(config, name) if name else None

    head_dim = (getattr(config, "head_dim", None) if family.own_head_dim else None) or (
        config.hidden_size // config.num_attention_heads
    )
    kinds = tuple(config.layer_types) if family.windows == "typed" else ("",) * depth
    return Architecture(
        family=family,
        heads=config.num_attention_heads,
        kv_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
        head_dim=head_dim,
        inner=getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * config.hidden_size,
        eps=getattr(config, family.eps),
        activation=getattr(config, family.activation),
        qkv_bias=option(family.qkv_bias),
        out_bias=option(family.out_bias),
        mlp_bias=option(family.mlp_bias),
        parallel=option(family.parallel),
        embedding_scale=config.hidden_size**0.5 if family.scaled_embedding else None,
        scales=_scales(config, family, head_dim, depth),
        windows=tuple(config.sliding_window if family.windows == "all" or "sliding" in kind else None for kind in kinds),
        ropes=kinds if family.ropes_by_type else ("",) * depth,
        attention_softcap=number(family.attention_softcap),
        logit_softcap=number(family.logit_softcap),
    )


def _scales(config: Any, family: Family, head_dim: int, depth: int) -> tuple[float | None, ...]:
    if family.scalar:
        return (getattr(config, family.scalar) ** -0.5,) * depth
    if not family.scaled_by_options or (config.scale_attn_weights and not config.scale_attn_by_inverse_layer_idx):
        return (None,) * depth
    first = head_dim**-0.5 if config.scale_attn_weights else 1.0
    return tuple(first / (i + 1 if config.scale_attn_by_inverse_layer_idx else 1) for i in range(depth))


def context(config: Any) -> int:
    """Most tokens that a model was made to read; large where its config names no limit."""
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        if isinstance(found := getattr(config, name, None), int):
            return found
    return UNLIMITED


def ropes(config: Any) -> list[dict[str, Any]]:
    """The rope parameters of a config: one set, one for each layer type, or none."""
    found = getattr(config, "rope_parameters", None) or {}
    return [found] if "rope_type" in found else [part for part in found.values() if isinstance(part, dict)]


def steady_length(config: Any) -> int:
    """Tokens up to which the rotary angles do not depend on how long the longest row is: longrope has two sets of them."""
    found = [rope["original_max_position_embeddings"] for rope in ropes(config) if rope["rope_type"] == "longrope"]
    return min(found, default=context(config))


def rotary_class(family: Family) -> Callable[[Any], Any]:
    """transformers' rotary embedding of a family."""
    from importlib import import_module

    module, _, name = family.rotary.partition(":")
    found: Callable[[Any], Any] = getattr(import_module(f"transformers.models.{module}"), name)
    return found
