import copy

import pytest
import torch

from plaudit.models.base import AdapterConfig
from plaudit.models.dropout import Draw, RowDropout
from plaudit.models.network import Network
from plaudit.schema import UserError
from small_networks import F64, adapter, base, demonstrations, llama, pairs, rollouts, whole


@torch.no_grad()
def logp(network, batch=None, **how):
    return network(rollouts(4) if batch is None else batch, {"logp"}, **how).logp


def three(**options):
    on = base(**options)
    return adapter(on, "policy"), adapter(on, "critic", scalar=True), Network("reference", on), on


def test_adapters_switch_and_do_not_touch_each_other():
    policy, critic, reference, on = three()
    said = [logp(n) for n in (policy, critic, reference)]
    assert (
        not torch.allclose(said[0], said[1]) and not torch.allclose(said[0], said[2]) and not torch.allclose(said[1], said[2])
    )
    for network, wanted in ((reference, 2), (critic, 1), (policy, 0), (reference, 2), (policy, 0), (critic, 1)):
        assert torch.equal(logp(network), said[wanted])
    with torch.no_grad():
        for p in on.adapter_parameters("policy").values():
            p.add_(0.1)
    assert not torch.allclose(logp(policy), said[0])
    assert torch.equal(logp(critic), said[1]) and torch.equal(logp(reference), said[2])


def test_the_reference_is_the_untouched_base():
    plain = llama()
    alone = Network("reference", base(model=copy.deepcopy(plain)))
    _, _, reference, on = three()
    assert torch.equal(logp(reference), logp(alone))
    kept = {k.replace(".base_layer.", "."): v for k, v in on.model.state_dict().items() if ".lora_" not in k}
    assert all(torch.equal(kept[k], v) for k, v in plain.state_dict().items()) and set(kept) == set(plain.state_dict())


def test_a_gradient_reaches_its_own_adapter_and_head_alone():
    policy, critic, _, on = three()
    critic(rollouts(4), {"value"}).value.sum().backward()
    assert all(p.grad is not None for p in critic.parameters().values())
    assert all(p.grad is None for p in policy.parameters().values())
    policy(rollouts(4), {"logp"}).logp.sum().backward()
    assert all(p.grad is not None for p in policy.parameters().values())
    lora = {id(p) for name in ("policy", "critic") for p in on.adapter_parameters(name).values()}
    assert all(p.grad is None for p in on.model.parameters() if id(p) not in lora)


def test_a_new_adapter_changes_nothing_and_follows_from_its_seed():
    on = base()
    before = logp(Network("reference", on))
    on.add_adapter("a", seed=1)
    on.add_adapter("b", seed=1)
    on.add_adapter("c", seed=2)
    assert torch.equal(logp(Network("a", on, adapter="a")), before)
    a, b, c = (on.adapter_parameters(name) for name in "abc")
    assert list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)


def test_the_callers_random_generator_is_left_alone():
    state = torch.get_rng_state()
    base().add_adapter("a", seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_adapter_keeps_the_options_it_was_made_with():
    """Rank and scale are its own, though the base has others; weights W + (alpha / r) B A written out by hand."""
    on = base(lora_r=4, lora_alpha=8.0)
    on.add_adapter("other", seed=0, options=AdapterConfig(use_peft=True, lora_r=2, lora_alpha=20.0))
    key = "model.layers.0.mlp.up_proj"
    a, b = (on.adapter_parameters("other")[f"{key}.lora_{x}.weight"] for x in "AB")
    assert a.shape == (2, 16)
    with torch.no_grad():
        b.normal_()
    merged = dict(on.merged("other"))[f"{key}.weight"]
    assert torch.allclose(merged, llama().state_dict()[f"{key}.weight"] + 10.0 * b @ a, rtol=1e-12)


def test_target_modules_of_one_adapter_do_not_become_anothers():
    on = base()
    on.add_adapter("few", seed=0, options=AdapterConfig(use_peft=True, lora_target_modules=["q_proj"]))
    on.add_adapter("all", seed=0)
    kinds = {name: {key.split(".")[-3] for key in on.adapter_parameters(name)} for name in ("few", "all")}
    assert kinds["few"] == {"q_proj"}
    assert kinds["all"] == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_the_trunk_reaches_no_higher_than_the_lowest_adapter():
    on = base(lora_layers=1)
    assert on.shared_layers == 2
    on.add_adapter("deep", seed=0, options=AdapterConfig(use_peft=True, lora_layers=2))
    assert on.shared_layers == 1
    on.add_adapter("all", seed=0, options=AdapterConfig(use_peft=True))
    assert on.shared_layers == 0
    assert base(lora_layers=9).shared_layers == 0


@pytest.mark.parametrize("layers", [1, 2])
def test_a_shared_trunk_changes_no_bit(layers):
    policy, critic, reference, _ = three(lora_layers=layers)
    batch = rollouts(5)
    trunk = policy.trunk(batch.pad_to(batch.ids.shape[1] + 3))
    assert policy.start == 3 - layers and not trunk.requires_grad
    for network in (policy, critic, reference):
        assert torch.allclose(logp(network, batch, trunk=trunk), logp(network, batch), rtol=1e-12)
        assert torch.equal(network.trunk(batch), policy.trunk(batch))
    for want in ("logp", "value"):
        found = []
        for given in (trunk, None):
            for p in critic.parameters().values():
                p.grad = None
            getattr(critic(batch, {want}, trunk=given), want).square().sum().backward()
            found.append(torch.cat([p.grad.flatten() for p in critic.parameters().values() if p.grad is not None]))
        assert torch.allclose(*found, rtol=1e-10, atol=1e-13)


def test_no_trunk_where_nothing_is_shared():
    assert adapter(base(), "policy").trunk(rollouts(2)) is None
    assert adapter(base(lora_layers=1), "policy", packing=True).trunk(rollouts(2)) is None
    assert whole("policy").trunk(rollouts(2)) is None


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
def test_checkpointing_leaves_outputs_and_gradients_alone(full, packing):
    found = []
    for checkpointing in (False, True):
        how = {"packing": packing, "checkpointing": checkpointing}
        network = whole("critic", scalar=True, **how) if full else adapter(base(), "critic", scalar=True, **how)
        out = network(rollouts(4), {"logp", "value"})
        (out.logp.sum() + out.value.square().sum()).backward()
        found.append(
            (out.logp.detach(), torch.cat([p.grad.flatten() for p in network.parameters().values() if p.grad is not None]))
        )
    assert torch.equal(found[0][0], found[1][0])
    assert torch.allclose(found[0][1], found[1][1], rtol=1e-12)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_merged_weights_are_the_adapters_forward(tied):
    on = base(model=llama(tie_word_embeddings=tied))
    policy = adapter(on, "policy")
    adapter(on, "critic")  # its weights must not leak in
    fresh = llama(7, tie_word_embeddings=tied)
    merged = dict(policy.weights())
    assert set(merged) == set(fresh.state_dict()) and "lm_head.weight" in merged
    fresh.load_state_dict(merged)
    assert torch.allclose(logp(Network("merged", base(model=fresh))), logp(policy), rtol=1e-10)
    plain = dict(Network("reference", on).weights())
    assert all(torch.equal(plain[k], v) for k, v in llama(tie_word_embeddings=tied).state_dict().items())


def test_merged_weights_of_a_whole_model_are_its_own():
    network = whole("policy")
    mine = dict(network.weights())
    assert all(torch.equal(mine[k], v) for k, v in network.base.model.state_dict().items())


def test_a_bf16_base_has_float32_adapters_and_merges_in_float32():
    policy = adapter(base(dtype=torch.bfloat16), "policy", autocast=True)
    assert {p.dtype for p in policy.parameters().values()} == {torch.float32}
    out = policy(rollouts(3, dtype=torch.float32), {"logp"})
    assert out.logp.dtype == torch.float32 and out.logp.requires_grad
    merged = dict(policy.weights())
    assert merged["model.layers.0.mlp.up_proj.weight"].dtype == torch.float32
    assert merged["lm_head.weight"].dtype == torch.bfloat16


def test_parameters_of_each_kind_of_network():
    lora = adapter(base(), "reward", scalar=True).parameters()
    assert {"head.weight", "head.bias"} < set(lora) and all("reward" not in name for name in lora)
    assert len(lora) == 3 * 7 * 2 + 2
    full = whole("policy").parameters()
    assert len(full) == len(list(llama().parameters())) and all(p.requires_grad for p in full.values())
    critic = whole("critic", scalar=True).parameters()
    assert "lm_head.weight" not in critic and "head.weight" in critic
    assert Network("reference", base()).parameters() == {}


def test_state_comes_back_and_other_tensors_are_refused():
    one, other = adapter(base(), "reward", scalar=True), adapter(base(), "reward", scalar=True, seed=99)
    assert not torch.equal(logp(one), logp(other))
    other.restore({k: v.clone() for k, v in one.state().items()})
    assert torch.equal(logp(one), logp(other)) and torch.equal(one.head.weight, other.head.weight)
    with pytest.raises(ValueError, match=r"other tensors.*head\.bias"):
        other.restore({k: v for k, v in one.state().items() if k != "head.bias"})


def test_a_base_knows_an_adapter_of_another_base():
    on = base()
    on.check_digest("digest-of-the-base", "somewhere")
    with pytest.raises(UserError, match=r"adapter in somewhere was trained on another base \(digest 0123456789ab"):
        on.check_digest("0123456789abcdef", "somewhere")


# -- dropout keyed by row -------------------------------------------------------------------------------------------------


def dropped(**how):
    return adapter(base(lora_dropout=0.4), "policy", **how)


def test_dropout_0_is_bit_for_bit_the_network_without():
    plain, with_modules = adapter(base(), "policy"), dropped()
    assert torch.equal(logp(plain), logp(with_modules))  # nobody asked for a draw: off
    assert torch.equal(logp(plain, draw=Draw(0, 0)), logp(plain))  # rate 0: no module at all
    assert not any(isinstance(m, RowDropout) for m in plain.base.model.modules())
    assert sum(isinstance(m, RowDropout) for m in with_modules.base.model.modules()) == 21


def test_a_draw_follows_from_seed_step_and_key():
    network, batch = dropped(), demonstrations(4)
    first = logp(network, batch, draw=Draw(0, 1))
    assert torch.equal(logp(network, batch, draw=Draw(0, 1)), first)
    counted = batch.mask > 0
    for other in (Draw(0, 2), Draw(1, 1)):
        assert (logp(network, batch, draw=other) != first)[counted].all()
    keyed = type(batch)(batch.ids, batch.mask, batch.length, batch.group, batch.place, batch.key + torch.tensor([0, 0, 7, 0]))
    changed = (logp(network, keyed, draw=Draw(0, 1)) != first).any(1)
    assert changed.tolist() == [False, False, True, False]


def test_a_rows_draw_knows_nothing_of_its_neighbours_padding_or_packing():
    batch = pairs(3)
    wanted = logp(dropped(), batch, draw=Draw(3, 5))
    alone = torch.zeros_like(wanted)
    for r in range(len(batch)):
        said = logp(dropped(), batch.rows([r]), draw=Draw(3, 5))
        alone[r, : said.shape[1]] = said[0]
    assert torch.allclose(alone, wanted, rtol=1e-12)
    assert torch.allclose(logp(dropped(packing=True), batch, draw=Draw(3, 5)), wanted, rtol=1e-12)
    wide = logp(dropped(), batch.pad_to(40), draw=Draw(3, 5))
    assert torch.allclose(wide[:, : wanted.shape[1]], wanted, rtol=1e-12)


def test_dropout_keeps_the_mean_and_drops_at_its_rate():
    on = base(lora_dropout=0.4)
    adapter(on, "policy")
    module = next(m for m in on.model.modules() if isinstance(m, RowDropout))
    batch = rollouts(1)
    seen = []
    for step in range(400):
        module.rows.enter(Draw(0, step), batch, torch.arange(batch.ids.shape[1])[None])
        seen.append(module(torch.ones(1, batch.ids.shape[1], 16, dtype=F64)))
    seen = torch.stack(seen)
    assert seen.unique().tolist() == pytest.approx([0.0, 1 / 0.6], rel=1e-12)
    count = seen.numel()
    assert abs(float((seen == 0).double().mean()) - 0.4) < 4 * (0.24 / count) ** 0.5  # four standard errors
    layers = [m for m in on.model.modules() if isinstance(m, RowDropout)]
    assert not torch.equal(layers[0](seen[0]), layers[1](seen[0]))  # each layer draws its own


def test_dropout_is_the_adapters_alone():
    policy = dropped()
    reference = Network("reference", policy.base)
    assert torch.equal(logp(reference, draw=Draw(0, 0)), logp(reference))
