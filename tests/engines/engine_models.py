"""Tiny random Llama models for the engine's tests, and the independent forward pass they are compared with."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.tiny import tiny_tokenizer
from plaudit.schema import Prompt

TOKENIZER = tiny_tokenizer()
PROMPTS = [
    Prompt(text=text) for text in ("Where is my order?", "refund", "I forgot the password of my account. Help", "hi", "no")
]


def llama(dtype=torch.float64, seed=0, **options):
    """A random Llama, 4 heads on 2 key-value heads; weights large enough for decided, varied answers."""
    settings = {
        "vocab_size": len(TOKENIZER),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.3,
        "pad_token_id": TOKENIZER.pad_token_id,
        "bos_token_id": TOKENIZER.bos_token_id,
        "eos_token_id": TOKENIZER.eos_token_id,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**{**settings, **options}))
        for name, weight in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight.data.add_(torch.randn_like(weight) * 0.3)
    return model.to(dtype).eval()


def engine(model, **options):
    return TorchEngine.from_model(model, TOKENIZER, **{"version": "v1", **options})


@torch.no_grad()
def forward_logits(model, completion):
    """Logits [n, V] from which each of the completion's tokens was drawn, by one plain transformers forward."""
    ids = torch.tensor([completion.prompt_tokens + completion.tokens])
    return model(ids, use_cache=False).logits[0, len(completion.prompt_tokens) - 1 : -1]
