"""Laws 1 and 4 with every kind of adapter. Float64, the real learner."""

import pytest
import torch
from test_gradient_invariance import together

from small_networks import BATCHES, gradients, learner

KINDS = {
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "dora with dropout": {"use_dora": True, "lora_dropout": 0.3},
    "ia3": {"peft_type": "ia3"},
    "prefix": {"peft_type": "prefix_tuning", "num_virtual_tokens": 3},
    "prompt": {"peft_type": "prompt_tuning", "num_virtual_tokens": 3},
    "bottleneck": {"peft_type": "bottleneck", "bottleneck_size": 4},
}


def gradient(kind, batch, lora, **settings):
    options = {"num_ppo_epochs": 1} if kind == "ppo" else {}
    made = learner(kind, options=options, optimizer={"learning_rate": 1e-300}, lora=lora, **settings)
    said = made.step(batch)
    if kind == "ppo":
        assert said["val/first_pass_ratio_deviation"] == 0.0
    return gradients(made)


@pytest.mark.parametrize(
    "lora", [KINDS["prefix"], KINDS["prompt"], KINDS["bottleneck"]], ids=["prefix", "prompt", "bottleneck"]
)
@pytest.mark.parametrize("kind", ["reward", "grpo"])
def test_rows_behind_one_copy_of_their_beginning(kind, lora):
    """Virtual tokens stand once before a line of several rows.

    To 1e-6: the rotary angles are float32, and a cosine may differ in its last bit with its place in the tensor.
    """
    batch = together(BATCHES[kind]())
    whole = gradient(kind, batch, lora, micro_batch=99)
    assert apart(gradient(kind, batch, lora, micro_batch=2, sharing=True), whole) < 1e-6


def apart(a, b):
    """max |a - b| / max |b|."""
    return float((a - b).abs().max() / b.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("lora", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("kind", ["sft", "reward", "ppo"])
def test_micro_batches_padding_packing_and_checkpoints_leave_the_gradient_alone(kind, lora):
    batch = BATCHES[kind]()
    whole = gradient(kind, batch, lora, micro_batch=99)
    assert whole.abs().max() > 1e-3
    for how in ({"micro_batch": 1}, {"micro_batch": 2, "packing": True}, {"micro_batch": 3, "checkpointing": True}):
        assert apart(gradient(kind, batch, lora, **how), whole) < 1e-11
    assert apart(gradient(kind, batch.pad_to(batch.ids.shape[1] + 7), lora, micro_batch=3), whole) < 1e-11
    shuffled = batch.rows(torch.randperm(len(batch), generator=torch.Generator().manual_seed(5)))
    assert apart(gradient(kind, shuffled, lora, micro_batch=2), whole) < 1e-11


@pytest.mark.parametrize("lora", KINDS.values(), ids=KINDS)
def test_a_step_changes_the_adapter_alone(lora):
    made = learner("ppo", lora=lora)
    policy, critic = made.networks["policy"], made.networks["critic"]
    mine = {id(p) for network in (policy, critic) for p in network.parameters().values()}
    others = {name: p.clone() for name, p in policy.base.model.named_parameters() if id(p) not in mine}
    before = {id(p): p.clone() for network in (policy, critic) for p in network.parameters().values()}
    made.step(BATCHES["ppo"]())
    now = dict(policy.base.model.named_parameters())
    assert others and all(torch.equal(now[name], value) for name, value in others.items())
    for network in (policy, critic):
        assert all(not torch.equal(p, before[id(p)]) for p in network.parameters().values())


def test_weight_decay_leaves_ia3_vectors_alone():
    """They stand at 1 where nothing is learnt; pulled to 0 they would switch the layer off."""
    made = learner("sft", lora=KINDS["ia3"], optimizer={"weight_decay": 0.5})
    decayed, plain = made.optimizers["policy"].param_groups
    assert not decayed["params"] and len(plain["params"]) == len(made.networks["policy"].parameters())
