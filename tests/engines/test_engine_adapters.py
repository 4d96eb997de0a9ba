"""Every kind of adapter in every kind of decoder: the engine samples with what the trainer computes."""

import pytest
import torch

from family_models import CASES, TOKENIZER, family_model, other_model
from plaudit.core.batch import from_rows
from plaudit.engines.opening import engine_for
from plaudit.models.adapters import AdapterConfig
from plaudit.models.base import Base
from plaudit.models.network import Network
from plaudit.schema import Prompt, Sampling, UserError

KINDS = {
    "dora": {"use_dora": True, "lora_r": 3},
    "ia3": {"peft_type": "ia3"},
    "prefix": {"peft_type": "prefix_tuning", "num_virtual_tokens": 3},
    "prompt": {"peft_type": "prompt_tuning", "num_virtual_tokens": 3},
    "bottleneck": {"peft_type": "bottleneck", "bottleneck_size": 4},
}
FEW = ("llama", "mistral, window", "gemma2", "gemma3", "phi", "gpt_neox", "gpt2")
"""One of each build: windows, softcaps, norms after, parallel layers, learned positions, transposed matrices."""
IA3 = {"gemma3": ["q_proj", "v_proj", "down_proj"]}


def adapted(model, **options):
    on = Base(model, TOKENIZER, "digest", "base", AdapterConfig(use_peft=True, **options))
    on.add_adapter("policy", seed=1)
    with torch.no_grad():
        for p in on.adapter_parameters("policy").values():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(2), dtype=p.dtype) * 0.1)
    return Network("policy", on, adapter="policy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", FEW)
def test_recorded_logprobs_are_the_trainers(case, kind):
    assert case in CASES
    named = {"lora_target_modules": IA3[case]} if kind == "ia3" and case in IA3 else {}
    network = adapted(family_model(case, torch.float64), **KINDS[kind], **named)
    model = network.base.model
    engine = engine_for(model, TOKENIZER, slots=3)
    engine.load(network.weights(), "one")
    found = engine.generate([Prompt(text=" refund" * (i + 1)) for i in range(3)], 2, Sampling(max_new_tokens=12))
    rows = [[*c.prompt_tokens, *c.tokens] for c in found]
    batch = from_rows(rows, [[0] * len(c.prompt_tokens) + [1] * len(c.tokens) for c in found], dtype=torch.float64)
    for packing in (False, True):
        network.packing = packing
        with torch.no_grad():
            said = network(batch, {"logp"}).logp
        for r, c in enumerate(found):
            assert said[r, len(c.prompt_tokens) : len(rows[r])].tolist() == pytest.approx(c.logprobs, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_run_whole_takes_adapters_and_says_what_its_engine_cannot(kind):
    model = other_model("granite", torch.float64)
    named = {"lora_target_modules": ["k_proj", "v_proj", "down_proj"]} if kind == "ia3" else {}
    network = adapted(model, **KINDS[kind], **named)
    batch = from_rows([[5, 6, 7, 8], [9, 10, 11]], [[0, 0, 1, 1], [0, 1, 1]], dtype=torch.float64)
    network(batch, {"logp"}).logp.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters().values())
    engine = engine_for(model, TOKENIZER)
    if kind in ("dora", "ia3"):
        engine.load(network.weights(), "one")
        assert engine.generate([Prompt(text=" refund")], 1, Sampling(max_new_tokens=3))[0].tokens
    else:
        with pytest.raises(UserError, match="which this model does not have"):
            engine.load(network.weights(), "one")
