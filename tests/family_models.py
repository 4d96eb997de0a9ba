"""A tiny random model of every family that is run by code of ours, with options that switch on what the family can do."""

import copy

import torch
import transformers

from plaudit.models.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
COMMON = {
    "vocab_size": len(TOKENIZER),
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "pad_token_id": TOKENIZER.pad_token_id,
    "bos_token_id": TOKENIZER.bos_token_id,
    "eos_token_id": TOKENIZER.eos_token_id,
}
GROUPED = {"num_key_value_heads": 2}
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
HEAD = {"head_dim": 16}
TYPED = {"layer_types": MIXED, "sliding_window": 5, **GROUPED}
QWEN = {**TYPED, "use_sliding_window": True}
GPT2 = {"n_embd": 32, "n_inner": 40}
SHORT = [1.0 + 0.1 * i for i in range(4)]
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": SHORT,
    "long_factor": [4 * f for f in SHORT],
}

CASES = {
    "llama": ("Llama", GROUPED),
    "mistral": ("Mistral", {**GROUPED, "sliding_window": None, **HEAD}),
    "mistral, window": ("Mistral", {**GROUPED, "sliding_window": 5}),
    "qwen2": ("Qwen2", {**GROUPED, "tie_word_embeddings": True}),
    "qwen2, windows": ("Qwen2", QWEN),
    "qwen3": ("Qwen3", {**GROUPED, **HEAD}),
    "qwen3, windows, biases": ("Qwen3", {**QWEN, **HEAD, "attention_bias": True}),
    "gemma": ("Gemma", {"num_key_value_heads": 1, **HEAD}),
    "gemma2": ("Gemma2", {**TYPED, **HEAD, "query_pre_attn_scalar": 20, "attn_logit_softcapping": 3.0}),
    "gemma2, uncapped": (
        "Gemma2",
        {**TYPED, **HEAD, "attn_logit_softcapping": None, "final_logit_softcapping": None, "tie_word_embeddings": False},
    ),
    "gemma3": ("Gemma3", {**TYPED, **HEAD, "query_pre_attn_scalar": 20, "final_logit_softcapping": 4.0}),
    "phi3": ("Phi3", {**GROUPED, "sliding_window": 5}),
    "phi3, partial": ("Phi3", {**GROUPED, "partial_rotary_factor": 0.5}),
    "phi3, longrope": ("Phi3", {**GROUPED, "rope_parameters": LONGROPE, "original_max_position_embeddings": 256}),
    "phi": ("Phi", {**GROUPED, "partial_rotary_factor": 0.5}),
    "gpt_neox": ("GPTNeoX", {}),
    "gpt_neox, sequential": ("GPTNeoX", {"use_parallel_residual": False, "rotary_pct": 1.0, "tie_word_embeddings": True}),
    "gpt2": ("GPT2", GPT2),
    "gpt2, odd scales": ("GPT2", {**GPT2, "scale_attn_by_inverse_layer_idx": True, "tie_word_embeddings": False}),
}
"""Each sliding window is far shorter than the texts of the tests."""


def config_of(case, **options):
    name, own = CASES[case]
    settings = copy.deepcopy({**COMMON, **own, **options})  # transformers writes into the dict of rope parameters
    if name == "GPT2":
        settings = {key: settings[key] for key in settings if key not in {"hidden_size", "intermediate_size"}}
    return getattr(transformers, {"Gemma3": "Gemma3TextConfig"}.get(name, f"{name}Config"))(**settings)


def family_model(case, dtype=torch.float32, seed=0, **options):
    """A random model; weights large enough for decided answers, no norm or bias trivial."""
    kind = {"GPT2": "GPT2LMHeadModel"}.get(CASES[case][0], f"{CASES[case][0]}ForCausalLM")
    return drawn(kind, config_of(case, **options), dtype, seed)


OTHERS = {
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 24}),
    "bloom": ("Bloom", {}),
    "cohere": ("Cohere", {**GROUPED, "logit_scale": 0.3}),
    "mixtral": ("Mixtral", {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "mamba": ("Mamba", {"state_size": 8, "num_hidden_layers": 2}),
    "granite": ("Granite", {**GROUPED, "logits_scaling": 3.0, "embedding_multiplier": 2.0}),
}
"""Families that are run whole by transformers; Mamba has a running state instead of attention."""


def other_model(name, dtype=torch.float32, seed=0, **options):
    kind, own = OTHERS[name]
    config = getattr(transformers, f"{kind}Config")(**{**COMMON, "init_std": 0.3, **own, **options})
    return drawn(f"{kind}ForCausalLM", config, dtype, seed)


def drawn(kind, config, dtype, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return shaken(getattr(transformers, kind)(config)).to(dtype)


def shaken(model):
    """Norms and biases moved away from 1 and 0; eval mode."""
    for name, weight in model.named_parameters():
        if "norm" in name or "ln_" in name or name.endswith("bias"):
            weight.data.add_(torch.randn_like(weight) * 0.3)
    return model.eval()
