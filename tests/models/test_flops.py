"""FLOPs by formula, against torch's own count of what runs; a model's outline against the model."""

from __future__ import annotations

import pytest
import torch

from flop_counting import counter
from plaudit.core.batch import from_rows
from plaudit.models import flops
from plaudit.models.adapters import AdapterConfig
from plaudit.models.attention import STEP
from plaudit.models.base import Base
from plaudit.models.flops import Shape
from plaudit.models.heads import scalar_head
from plaudit.models.load import load
from plaudit.models.network import Network
from plaudit.models.outline import outline
from plaudit.models.tiny import tiny_tokenizer
from plaudit.schema import UserError

ROWS, WIDTH, HALF = 3, 10, 4


def network(lora: bool) -> Network:
    loaded = load("tiny")
    base = Base(loaded.model, loaded.tokenizer, "", "tiny", AdapterConfig(use_peft=lora))
    if lora:
        base.add_adapter("policy", seed=0)
    return Network("policy", base, adapter="policy" if lora else None, whole=not lora, head=scalar_head(base.width))


def batch():
    return from_rows([[5] * WIDTH] * ROWS, [[0] * (WIDTH - HALF) + [1] * HALF] * ROWS)


def counted(run) -> int:
    with counter() as counting:
        run()
    return counting.get_total_flops()


def test_by_hand():
    """2 layers of width 4: q 4x4, k and v 4x2 each, out 4x4, a gated MLP of 3 times 4x8: 144 weights a layer."""
    shape = Shape(layers=2, width=4, heads=2, kv_heads=1, head_dim=2, inner=8, vocabulary=10)
    assert (shape.layer, shape.matrices, shape.head) == (144, 288, 40)
    assert shape.cache(2) == 2 * 2 * 1 * 2 * 2
    # 5 tokens in one row, logits on 3: 2 * 288 * 5 + 4 * 2 * 4 * 25 + 2 * 40 * 3
    assert flops.forward(shape, 5, flops.square([5]), 3) == 2880 + 800 + 240
    assert flops.backward(shape, 5, 25, 3, weights=True) == 2 * 2880 + 2 * 800 + 3 * 240
    assert flops.backward(shape, 5, 25, 3, weights=False, again=True) == 2880 + 2 * 800 + 240 + 2880 + 800
    assert flops.forward(shape, 5, 25, layers=1) == 1440 + 400
    assert flops.causal([3, 1]) == 6 + 1
    # Behind 3 prompt tokens, 4 answer tokens: the first comes from the prompt's pass, then contexts of 4, 5 and 6.
    assert flops.decoded(3, 4) == 4 + 5 + 6 and flops.decoded(3, 1) == 0


@pytest.mark.parametrize("lora", [False, True])
def test_passes_as_torch_counts_them(lora):
    made, rows = network(lora), batch()
    shape, tokens, logits = outline("tiny").shape, ROWS * WIDTH, ROWS * HALF
    size = outline("tiny").adapter(AdapterConfig()) if lora else 0
    pairs = flops.square([WIDTH + -WIDTH % STEP] * ROWS)  # the grid of attention is that wide
    scored = 2 * logits * shape.width  # the scalar head

    def infer():
        with torch.no_grad():
            made(rows, {"logp", "value"})

    forward = flops.forward(shape, tokens, pairs, logits) + flops.adapters(size, tokens, training=False) + scored
    assert counted(infer) == forward

    def learn():
        found = made(rows, {"logp", "value"})
        (found.logp.sum() + found.value.sum()).backward()

    back = flops.backward(shape, tokens, pairs, logits, weights=not lora) + 3 * 2 * size * tokens + 2 * scored
    told = counted(learn)
    if lora:  # the lowest layer's inputs need no gradient, which the formula does not know: a share of one layer of two
        assert forward + 0.7 * back < told <= forward + back
    else:
        assert told == forward + back


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dora": True, "lora_r": 4},
        {"lora_layers": 1},
        {"lora_target_modules": ["q_proj", "down_proj"]},
        {"peft_type": "ia3"},
        {"peft_type": "ia3", "lora_layers": 1},
        {"peft_type": "prompt_tuning", "num_virtual_tokens": 3},
        {"peft_type": "prefix_tuning", "num_virtual_tokens": 3},
        {"peft_type": "bottleneck", "bottleneck_size": 8},
        {"peft_type": "bottleneck", "bottleneck_size": 8, "lora_layers": 1},
    ],
)
def test_an_adapter_has_as_many_numbers_as_the_outline_says(options):
    chosen = AdapterConfig(use_peft=True, **options)
    loaded = load("tiny")
    base = Base(loaded.model, loaded.tokenizer, "", "tiny", chosen)
    base.add_adapter("policy", seed=0)
    assert outline("tiny").adapter(chosen) == sum(p.numel() for p in base.adapter_parameters("policy").values())


def family(kind: str, tmp_path, **options):
    """A folder with nothing but the config of a small model of this family; the model itself."""
    from transformers import AutoConfig, AutoModelForCausalLM

    small = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 50, "pad_token_id": 0}
    config = AutoConfig.for_model(kind, **{**small, **options})
    config.save_pretrained(tmp_path)
    return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("gpt2", {}),
        ("gpt_neox", {"intermediate_size": 64}),
        ("qwen3", {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 16}),
        ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    ],
)
def test_a_config_alone_tells_numbers_and_matrices(kind, options, tmp_path):
    model = family(kind, tmp_path, **options)
    found = outline(str(tmp_path))
    assert found.tokenizer is None
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.shape.matrices == sum(one.inputs * one.outputs for one in found.linear)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert (found.output_only == 0) == tied


def test_what_is_no_model_is_said(tmp_path):
    with pytest.raises(UserError, match=r"has no config\.json"):
        outline(str(tmp_path))
    with pytest.raises(UserError, match=r"another run is to make it"):
        outline(str(tmp_path / "runs" / "sft" / "model"))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json in .* cannot be read"):
        outline(str(tmp_path))


def test_the_tiny_outline_is_the_tiny_model():
    assert outline("tiny:3").parameters == sum(p.numel() for p in load("tiny:3").model.parameters())
    assert outline("tiny").config.vocab_size == len(tiny_tokenizer())
