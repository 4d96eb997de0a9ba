"""The memory-lean forward of each family: transformers' own numbers, padded and packed; trunks, adapters, engines."""

import pytest
import torch

from family_models import CASES, TOKENIZER, family_model
from plaudit.core.batch import from_rows
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.base import AdapterConfig, Base
from plaudit.models.forward import Layout, hidden_states, plain_layers
from plaudit.models.network import Network
from plaudit.schema import Prompt, Sampling, UserError
from small_networks import F64, adapter, by_transformers, head, rollouts

ALL = {"logp", "entropy", "value", "score"}
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
"""transformers takes some norms and softmaxes in float32 even where the model is in float64."""


def on(case, **lora):
    return Base(family_model(case, F64), TOKENIZER, "digest", case, AdapterConfig(**{"use_peft": True, "lora_r": 4, **lora}))


@pytest.mark.parametrize("case", CASES)
def test_outputs_of_each_family_are_those_of_the_whole_model_padded_and_packed(case):
    model, scalar, batch = family_model(case, F64), head(1, width=32), rollouts(5)
    wanted = by_transformers(model, scalar, batch, temperature=0.7)
    base = Base(model, TOKENIZER, "digest", case, AdapterConfig())
    assert base.plain
    for packing in (False, True):
        with torch.no_grad():
            out = Network("critic", base, head=scalar, packing=packing, chunk=5)(batch, ALL, temperature=0.7)
        for mine, theirs in zip((out.logp, out.entropy, out.value, out.score), wanted, strict=True):
            assert torch.allclose(mine, theirs, **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_rows_of_each_family_behind_one_copy_of_their_prompt_say_the_same(case):
    """Windows are shorter than the prompts, so that a rest sees the end of its beginning, and of it a part."""
    prompts, rests = ([5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17]), ([20], [21, 22, 23, 24], [25, 26, 27, 28, 29, 30, 31])
    rows = [(group, [*prompt, *rest], len(rest)) for group, prompt in enumerate(prompts) for rest in rests]
    batch = from_rows(
        [ids for _, ids, _ in rows],
        [[0] * (len(ids) - size) + [1] * size for _, ids, size in rows],
        group=[group for group, _, _ in rows],
        dtype=F64,
    )
    base = on(case)
    with torch.no_grad():
        plain = Network("critic", base, head=head(1, width=32))(batch, ALL)
        shared = Network("critic", base, head=head(1, width=32), sharing=True)(batch, ALL)
    for name in ALL:
        assert torch.allclose(getattr(shared, name), getattr(plain, name), **CLOSE)


@pytest.mark.parametrize("case", CASES)
def test_networks_of_each_family_share_the_layers_below_their_adapters(case):
    base, batch = on(case, lora_layers=1), rollouts(5)
    assert base.shared_layers == 2
    network = adapter(base, "policy")
    with torch.no_grad():
        assert torch.equal(network(batch, {"logp"}, trunk=network.trunk(batch)).logp, network(batch, {"logp"}).logp)
        packed = Layout(batch, True)
        half = hidden_states(base.model, packed, start=1, hidden=hidden_states(base.model, packed, stop=1))
        assert torch.equal(half, hidden_states(base.model, packed))


@pytest.mark.parametrize("case", CASES)
def test_an_engine_with_the_merged_adapter_of_each_family_records_the_networks_logprobs(case):
    base = on(case)
    network = adapter(base, "policy")
    engine = TorchEngine(base.model.config, TOKENIZER, dtype=F64, slots=3)
    engine.load(network.weights(), "v1")
    rows = engine.generate([Prompt(text=text) for text in ("Where is my order?", "refund")], 2, Sampling(max_new_tokens=12))
    batch = from_rows(
        [row.prompt_tokens + row.tokens for row in rows],
        [[0] * len(row.prompt_tokens) + [1] * len(row.tokens) for row in rows],
        dtype=F64,
    )
    with torch.no_grad():
        found, plain = network(batch, {"logp"}).logp, Network("reference", base)(batch, {"logp"}).logp
    recorded = torch.cat([torch.tensor(row.logprobs, dtype=F64) for row in rows])
    torch.testing.assert_close(recorded, found[batch.mask > 0], rtol=0, atol=1e-5)
    assert (recorded - plain[batch.mask > 0]).abs().max() > 0.1  # the adapter does something


@pytest.mark.parametrize("case", ["gemma2", "gpt2", "gpt_neox", "phi", "qwen3, windows, biases"])
def test_gradients_of_a_family_do_not_change_with_packing_or_checkpointing(case):
    found = []
    for how in ({}, {"packing": True}, {"checkpointing": True}):
        network = adapter(on(case), "policy", **how)
        network(rollouts(4), {"logp"}).logp.sum().backward()
        grads = [p.grad.flatten() for p in network.parameters().values()]
        found.append(torch.cat(grads))
    assert found[0].abs().max() > 0
    assert all(torch.allclose(one, found[0], rtol=1e-6, atol=1e-8) for one in found[1:])


def test_whole_critics_leave_out_the_output_head_and_its_bias():
    base = Base(family_model("phi", F64), TOKENIZER, "digest", "phi", AdapterConfig())
    critic = Network("critic", base, whole=True, head=head(1, width=32))
    assert not any(name.startswith("lm_head") for name in critic.parameters())
    policy = Network("policy", Base(family_model("phi", F64), TOKENIZER, "digest", "phi", AdapterConfig()), whole=True)
    assert {"lm_head.weight", "lm_head.bias"} < set(policy.parameters())


def test_options_that_are_not_described_are_left_to_transformers():
    for case, odd in (
        ("phi", {"qk_layernorm": True}),
        ("gpt2", {"add_cross_attention": True}),
        ("gemma3", {"attn_logit_softcapping": 5.0}),
        ("gemma", {"use_bidirectional_attention": True}),
    ):
        assert plain_layers(family_model(case)) is not None
        assert plain_layers(family_model(case, **odd)) is None


def test_rows_whose_rotary_angles_would_depend_on_the_longest_of_them_are_refused():
    base = Base(
        family_model("phi3, longrope", F64, original_max_position_embeddings=8), TOKENIZER, "d", "phi3", AdapterConfig()
    )
    with pytest.raises(UserError, match="longer than 8 tokens"):
        Network("policy", base)(rollouts(5), {"logp"})


def test_a_window_that_the_config_of_another_family_carries_is_not_applied():
    """transformers' Llama knows no sliding window, whatever its config.json says."""
    assert set(plain_layers(family_model("llama", sliding_window=4)).windows) == {None}
