"""Every kind of adapter: what it computes, what peft computes with the same file, and what the engine writes with it."""

import copy
import json
import warnings

import pytest
import torch

from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.adapter_folder import adapter_info, put_adapter, save_adapter
from plaudit.models.adapters import AdapterConfig
from plaudit.models.bottleneck import Bottleneck
from plaudit.models.network import Network
from plaudit.models.quantize import quantization
from plaudit.schema import Prompt, Sampling, UserError
from small_networks import F64, adapter, base, llama, pairs, rollouts

KINDS = {
    "lora": {},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "ia3": {"peft_type": "ia3"},
    "prefix": {"peft_type": "prefix_tuning", "num_virtual_tokens": 3},
    "prompt": {"peft_type": "prompt_tuning", "num_virtual_tokens": 3},
    "bottleneck": {"peft_type": "bottleneck", "bottleneck_size": 4},
}
MERGEABLE = ("lora", "rslora", "dora", "ia3")
kinds = pytest.mark.parametrize("kind", KINDS)


@torch.no_grad()
def logp(network, batch=None, **how):
    return network(rollouts(4) if batch is None else batch, {"logp"}, **how).logp


def options(kind, **more):
    return AdapterConfig(use_peft=True, lora_r=4, lora_alpha=8.0, **KINDS[kind], **more)


@kinds
def test_a_new_adapter_changes_nothing_unless_it_is_virtual_tokens(kind):
    on = base(**KINDS[kind])
    before = logp(Network("reference", on))
    on.add_adapter("a", seed=1)
    after = logp(Network("a", on, adapter="a"))
    if kind in ("prefix", "prompt"):
        assert (after - before).abs().max() > 1e-3
    else:
        assert torch.equal(after, before)
    assert torch.equal(logp(Network("reference", on)), before)


@kinds
def test_adapters_of_one_base_do_not_touch_each_other(kind):
    on = base(**KINDS[kind])
    before = logp(Network("reference", on))
    one, two = adapter(on, "policy"), adapter(on, "critic", scalar=True)
    said = logp(one)
    assert (logp(two) - said).abs().max() > 1e-3
    two(rollouts(4), {"value"}).value.sum().backward()
    assert all(p.grad is not None for p in two.parameters().values())
    assert all(p.grad is None for p in one.parameters().values())
    one(rollouts(4), {"logp"}).logp.sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in one.parameters().values())
    mine = {id(p) for network in (one, two) for p in network.parameters().values()}
    assert all(p.grad is None for p in on.model.parameters() if id(p) not in mine)
    assert torch.equal(logp(one), said) and torch.equal(logp(Network("reference", on)), before)


@kinds
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_a_saved_adapter_comes_back_to_the_bit(kind, tied, tmp_path):
    on = base(model=llama(tie_word_embeddings=tied), **KINDS[kind])
    policy = adapter(on, "policy")
    save_adapter(tmp_path / "adapter", on, "policy")
    info = adapter_info(tmp_path / "adapter")
    assert (info.base, info.base_digest) == ("base", "digest-of-the-base")
    other = base(model=llama(tie_word_embeddings=tied), **KINDS[kind])
    put_adapter(tmp_path / "adapter", other, "again", AdapterConfig(**info.adapter))
    assert torch.equal(logp(Network("again", other, adapter="again")), logp(policy))


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "bottleneck"])
def test_peft_reads_the_same_adapter_and_computes_the_same(kind, tmp_path):
    """An independent forward: peft's own, row by row, over the untouched model. It holds virtual tokens in float32."""
    from peft import PeftModel

    on = base(**KINDS[kind])
    policy, batch = adapter(on, "policy"), rollouts(4)
    save_adapter(tmp_path / "adapter", on, "policy")
    plain = llama()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    mine = logp(policy, batch)
    for r, length in enumerate(batch.length.tolist()):
        ids = batch.ids[r : r + 1, :length]
        with torch.no_grad():
            logits = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, -length:]
        wanted = logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[0, :, 0] * batch.mask[r, 1:length]
        assert (mine[r, 1:length] - wanted).abs().max() < (1e-6 if kind in ("prefix", "prompt") else 1e-9)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
@pytest.mark.parametrize("trained", ["plain layers", "the decoder's own forward"])
def test_packing_padding_and_the_whole_decoder_agree(kind, trained, monkeypatch):
    if trained != "plain layers":
        monkeypatch.setattr("plaudit.models.base.plain_layers", lambda model: None)
        monkeypatch.setattr("plaudit.models.forward.has_plain_layers", lambda model: False)
    wanted = logp(adapter(base(**KINDS[kind]), "policy"), pairs(3))
    on = base(**KINDS[kind])
    for how in ({}, {"packing": True}):
        found = logp(adapter(on, "policy", **how), pairs(3).pad_to(30))
        assert torch.allclose(found[:, : wanted.shape[1]], wanted, rtol=1e-10)


@pytest.mark.parametrize("kind", ["prefix", "prompt"])
def test_scores_and_values_are_read_at_a_rows_own_tokens(kind):
    on, batch = base(**KINDS[kind]), pairs(3)
    critic = adapter(on, "critic", scalar=True)
    whole = critic(batch, {"value", "score"})
    for r in range(len(batch)):
        alone = critic(batch.rows([r]), {"value", "score"})
        assert torch.allclose(alone.score[0], whole.score[r], rtol=1e-10)
        assert torch.allclose(alone.value[0], whole.value[r, : alone.value.shape[1]], rtol=1e-10)


@pytest.mark.parametrize("kind", MERGEABLE)
def test_merged_weights_are_the_adapters_forward(kind):
    on = base(model=llama(attention_bias=True), **KINDS[kind])
    policy = adapter(on, "policy")
    adapter(on, "critic")  # its weights must not leak in
    fresh = llama(7, attention_bias=True)
    fresh.load_state_dict(dict(policy.weights()))
    assert torch.allclose(logp(Network("merged", base(model=fresh))), logp(policy), rtol=1e-9)


def test_dora_merges_by_hand():
    on = base(**KINDS["dora"])
    adapter(on, "policy")
    key, mine = "model.layers.0.mlp.up_proj", on.adapter_parameters("policy")
    a, b, m = (mine[f"{key}.lora_{part}.weight"].detach() for part in ("A", "B", "magnitude_vector"))
    turned = llama().state_dict()[f"{key}.weight"] + 2.0 * b @ a  # alpha / r = 8 / 4
    wanted = torch.stack([m[i] * row / sum(x * x for x in row) ** 0.5 for i, row in enumerate(turned)])
    assert torch.allclose(dict(on.merged("policy"))[f"{key}.weight"], wanted, rtol=1e-12)


def test_rslora_scales_with_the_root_of_the_rank():
    on = base(**KINDS["rslora"])
    adapter(on, "policy")
    key, mine = "model.layers.1.self_attn.q_proj", on.adapter_parameters("policy")
    a, b = (mine[f"{key}.lora_{part}.weight"].detach() for part in "AB")
    wanted = llama().state_dict()[f"{key}.weight"] + 4.0 * b @ a  # 8 / sqrt(4)
    assert torch.allclose(dict(on.merged("policy"))[f"{key}.weight"], wanted, rtol=1e-12)


def test_a_bottleneck_by_hand():
    small = Bottleneck(2, 1).double()
    with torch.no_grad():
        for p, values in zip(small.parameters(), ([[1.0, 2.0]], [0.5], [[3.0], [-1.0]], [0.0, 10.0]), strict=True):
            p.copy_(torch.tensor(values))
    # down: 1 * 1 + 2 * 0 + 0.5 = 1.5; gelu(1.5) = 1.5 Phi(1.5) = 1.5 * 0.9331927987
    said = small(torch.tensor([1.0, 0.0], dtype=F64))
    assert said.tolist() == pytest.approx([1 + 3 * 1.39978919809, 0 - 1.39978919809 + 10], rel=1e-9)


@kinds
def test_the_engine_samples_with_the_adapter(kind):
    """Log-probabilities of sampled tokens are the trainer's, rows of different length and siblings included."""
    from plaudit.models.tiny import tiny_model, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    on = base(model=tiny_model(len(tokenizer)).double(), **KINDS[kind])
    policy = adapter(on, "policy")
    engine = TorchEngine(on.model.config, tokenizer, dtype=F64, slots=3)
    engine.load(policy.weights(), "one")
    prompts = [Prompt(text=" refund" * (i + 1)) for i in range(3)]
    found = engine.generate(prompts, 2, Sampling(max_new_tokens=6))
    from plaudit.core.batch import from_rows

    ids = [[*c.prompt_tokens, *c.tokens] for c in found]
    mask = [[0] * len(c.prompt_tokens) + [1] * len(c.tokens) for c in found]
    said = logp(policy, from_rows(ids, mask, dtype=F64))
    for r, c in enumerate(found):
        assert said[r, len(c.prompt_tokens) : len(ids[r])].tolist() == pytest.approx(c.logprobs, abs=1e-8)
    engine.load(Network("reference", on).weights(), "none")  # nothing of the adapter stays behind
    plain = engine.generate(prompts, 2, Sampling(max_new_tokens=6))
    assert [c.logprobs for c in plain] != [c.logprobs for c in found]
    alone = TorchEngine.from_model(tiny_model(len(tokenizer)).double(), tokenizer, slots=3)
    assert [c.logprobs for c in alone.generate(prompts, 2, Sampling(max_new_tokens=6))] == [c.logprobs for c in plain]


def test_only_the_last_layers_get_bottlenecks_and_ia3():
    for kind in ("bottleneck", "ia3"):
        on = base(lora_layers=1, **KINDS[kind])
        policy = adapter(on, "policy")
        assert {int(key.split("layers.")[1][0]) for key in policy.parameters()} == {2}
        assert policy.start == 2
        batch = rollouts(4)
        assert torch.allclose(logp(policy, batch, trunk=policy.trunk(batch)), logp(policy, batch), rtol=1e-12)


def test_kinds_on_one_base():
    """Ours go with either of peft's; LoRA and IA3 do not share a base, and that is said."""
    on = base()
    lora = adapter(on, "policy")
    on.add_adapter("critic", seed=1, options=options("bottleneck"))
    on.add_adapter("reward", seed=1, options=options("prompt"))
    critic = Network("critic", on, adapter="critic")
    said = logp(lora)
    assert torch.equal(logp(critic), logp(Network("reference", on)))  # a fresh bottleneck; LoRA is off under it
    assert not torch.equal(logp(Network("reward", on, adapter="reward")), said) and torch.equal(logp(lora), said)
    with pytest.raises(UserError, match=r"peft_type ia3 cannot share its base with lora adapters"):
        on.add_adapter("other", seed=1, options=options("ia3"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"use_dora": True, "peft_type": "ia3"}, "use_dora is an option of LoRA, and peft_type is ia3"),
        ({"lora_dropout": 0.1, "peft_type": "bottleneck"}, "lora_dropout is an option of LoRA"),
        ({"lora_layers": 1, "peft_type": "prompt_tuning"}, "lora_layers cannot go with peft_type prompt_tuning"),
        ({"load_in_8bit": True, "load_in_4bit": True}, "cannot both be true"),
        ({"use_peft": False, "peft_type": "ia3"}, "peft_type is for adapters on a frozen base; set use_peft: true"),
        ({"use_peft": False, "load_in_4bit": True}, "load_in_4bit is for adapters"),
    ],
)
def test_options_that_cannot_go_together(given, said):
    with pytest.raises(UserError, match=said):
        AdapterConfig(**{"use_peft": True, **given})


def test_a_quantised_base_says_what_it_needs(monkeypatch):
    asked = AdapterConfig(use_peft=True, load_in_4bit=True)
    assert quantization(AdapterConfig(use_peft=True), torch.device("cpu")) is None
    with pytest.raises(UserError, match="load_in_4bit needs a GPU that bitsandbytes supports, and this machine trains on cpu"):
        quantization(asked, torch.device("cpu"))
    monkeypatch.setattr("plaudit.models.quantize.find_spec", lambda name: None)
    with pytest.raises(UserError, match="load_in_4bit needs the package bitsandbytes"):
        quantization(asked, torch.device("cuda"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"half"), "has no adapter that can be read"),
        (lambda folder: (folder / "plaudit.json").write_text("{"), "plaudit.json is damaged"),
        (
            lambda folder: (folder / "plaudit.json").write_text(
                json.dumps({"base": "b", "base_digest": "d", "adapter": {"use_peft": True, "lora_r": 2}})
            ),
            "is not the one its options describe",
        ),
    ],
)
def test_a_damaged_adapter_folder_is_told(damage, said, tmp_path):
    on = base()
    adapter(on, "policy")
    save_adapter(tmp_path, on, "policy")
    damage(tmp_path)
    with pytest.raises(UserError, match=said):
        put_adapter(tmp_path, base(), "again", AdapterConfig(**adapter_info(tmp_path).adapter))


@kinds
def test_a_bf16_base_takes_every_kind(kind):
    policy = adapter(base(dtype=torch.bfloat16, **KINDS[kind]), "policy", autocast=True)
    out = policy(rollouts(3, dtype=torch.float32), {"logp"})
    out.logp.sum().backward()
    assert {p.dtype for p in policy.parameters().values()} == {torch.float32}
    assert all(p.grad is not None for p in policy.parameters().values())
    assert out.logp.dtype == torch.float32
    assert copy.deepcopy(policy.state()).keys() == policy.parameters().keys()
