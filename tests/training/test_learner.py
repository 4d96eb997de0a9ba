import math

import pytest
import torch

from plaudit.core import schedule
from plaudit.core.kl import Controller
from plaudit.training import planning
from small_networks import BATCHES, demonstrations, gradients, learner, pairs, rollouts, weights

KINDS = ("sft", "reward", "ppo")


class Counted:
    """Counts the optimiser steps of a learner, by role."""

    def __init__(self, made):
        self.taken = dict.fromkeys(made.optimizers, 0)
        for role, optimizer in made.optimizers.items():
            optimizer.parts[0][0].register_step_post_hook(lambda *_, role=role: self._count(role))

    def _count(self, role):
        self.taken[role] += 1


@pytest.mark.parametrize(("epochs", "minis", "rows", "wanted"), [(1, 1, 6, 1), (2, 3, 6, 6), (3, 4, 6, 12), (2, 9, 4, 8)])
def test_num_mini_batches_makes_that_many_optimiser_steps_in_each_epoch(epochs, minis, rows, wanted):
    made = learner("ppo", options={"num_ppo_epochs": epochs, "num_mini_batches": minis}, micro_batch=2)
    counted = Counted(made)
    made.step(rollouts(rows))
    assert counted.taken == {"policy": wanted, "critic": wanted}


def test_mini_batches_cut_the_batch_into_parts_that_meet_every_row_once():
    made = learner("ppo", options={"num_mini_batches": 3}, micro_batch=2)
    batch = rollouts(8)
    plan = made.plan(batch)
    assert [sum(map(len, mini)) for mini in plan] == [3, 3, 2]
    assert sorted(torch.cat([micro for mini in plan for micro in mini]).tolist()) == list(range(8))
    assert all(len(micro) <= 2 for mini in plan for micro in mini)
    made.steps = 1
    assert [m[0].tolist() for m in made.plan(batch)] != [m[0].tolist() for m in plan]  # another step cuts otherwise


def test_pairs_are_never_torn_apart():
    made = learner("reward", micro_batch=2)
    batch = pairs(5)
    for micro in made.plan(batch)[0]:
        groups = batch.group[micro].tolist()
        assert all(groups.count(g) == 2 for g in groups)


def test_each_mini_batch_is_weighted_by_its_own_tokens():
    """Two optimiser steps on halves are the same as two learner steps on these halves (SFT twin, written out)."""
    made, twin = (learner("sft", micro_batch=2, optimizer={"lr_scheduler_type": "constant"}) for _ in range(2))
    made.algorithm.mini_batches = 2
    batch = demonstrations(6)
    plan, order = made.plan(batch), planning.order(2, 0, (made.seed, made.steps))
    made.step(batch)
    for number in order:
        twin.step(batch.rows(torch.cat(plan[number])))
    assert torch.allclose(weights(made), weights(twin), rtol=1e-10, atol=1e-14)


def test_the_critic_has_a_learning_rate_of_its_own():
    o = {"learning_rate": 1e-3, "lr_scheduler_type": "constant"}
    made = learner("ppo", options={"critic_learning_rate": 4e-3}, optimizer=o)
    metrics = made.step(rollouts(4))
    assert metrics["lr"] == 1e-3
    assert [g["lr"] for g in made.optimizers["policy"].param_groups] == [1e-3, 1e-3]
    assert [g["lr"] for g in made.optimizers["critic"].param_groups] == [4e-3, 4e-3]


def test_the_first_adamw_step_moves_each_weight_by_its_networks_rate():
    """Adam's first step is lr * g / (|g| + eps), so lr * sign(g) where g is not tiny."""
    o = {"num_ppo_epochs": 1, "critic_learning_rate": 4e-3}
    made = learner("ppo", options=o, optimizer={"learning_rate": 1e-3, "adam_epsilon": 1e-12})
    before = {role: {k: v.clone() for k, v in network.state().items()} for role, network in made.networks.items()}
    made.step(rollouts(4))
    for role, rate in (("policy", 1e-3), ("critic", 4e-3)):
        for name, p in made.networks[role].parameters().items():
            clear = p.grad.abs() > 1e-6
            assert torch.allclose((before[role][name] - p.detach())[clear], rate * p.grad.sign()[clear], rtol=1e-5)


def test_the_schedule_is_applied_step_by_step():
    o = {"learning_rate": 1e-2, "lr_scheduler_type": "linear", "warmup_steps": 2}
    made = learner("sft", optimizer=o, total_steps=4)
    seen = [made.step(demonstrations(2))["lr"] for _ in range(4)]
    assert seen == pytest.approx([0.5e-2, 1e-2, 1e-2, 0.5e-2])
    assert seen == [1e-2 * schedule.factor(s, total=4, warmup=2, schedule="linear") for s in range(4)]


def test_gradients_are_clipped_for_each_network_by_itself():
    free = learner("ppo", options={"num_ppo_epochs": 1})
    norms = free.step(rollouts(4))
    limit = 0.5 * norms["grad_norm/critic"]
    made = learner("ppo", options={"num_ppo_epochs": 1}, optimizer={"max_grad_norm": limit})
    told = made.step(rollouts(4))
    assert told["grad_norm/policy"] == norms["grad_norm/policy"] and told["grad_norm/critic"] == norms["grad_norm/critic"]
    for role, network in made.networks.items():
        mine = torch.cat([p.grad.flatten() for p in network.parameters().values() if p.grad is not None])
        theirs = torch.cat([p.grad.flatten() for p in free.networks[role].parameters().values() if p.grad is not None])
        share = min(1.0, limit / (norms[f"grad_norm/{role}"] + 1e-6))
        assert torch.allclose(mine, theirs * share, rtol=1e-9)
    assert float(mine.norm()) == pytest.approx(limit, rel=1e-4)


def test_max_grad_norm_0_leaves_gradients_alone():
    made = learner("sft", optimizer={"max_grad_norm": 0.0})
    told = made.step(demonstrations(3))
    assert float(gradients(made).norm()) == pytest.approx(told["grad_norm"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_is_not_finite_is_refused_and_leaves_all_as_it_was(kind):
    made = learner(kind, micro_batch=2, options={"kl_target": 1.0} if kind == "ppo" else {})
    made.step(BATCHES[kind](4))
    before, moving = weights(made), made.algorithm.state()
    slots = {k: {n: t.clone() for n, t in v.items()} for k, v in made.state()[0].items()}
    bad = BATCHES[kind](4)
    name = {"sft": "weight", "reward": "margin", "ppo": "reward"}[kind]
    side = bad[name].clone()
    side[:2] = math.nan  # a pair has one margin, on both of its rows
    told = made.step(bad.with_(sides={name: side}))
    assert told["refused"] == 1.0
    assert torch.equal(weights(made), before) and made.algorithm.state() == moving
    for k, tensors in made.state()[0].items():
        assert all(torch.equal(t, slots[k][n]) for n, t in tensors.items())
    assert made.step(BATCHES[kind](4, seed=1))["refused"] == 0.0
    assert not torch.equal(weights(made), before)


def test_after_a_refused_step_the_remaining_passes_are_left_out():
    made = learner("ppo", options={"num_ppo_epochs": 3, "num_mini_batches": 2})
    counted = Counted(made)
    with torch.no_grad():
        made.networks["critic"].head.bias.fill_(math.inf)
    told = made.step(rollouts(4))
    assert told["refused"] == 1.0 and told["ppo_epochs"] == 1.0
    assert counted.taken == {"policy": 0, "critic": 0}  # one network's trouble stops both


@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_learner_goes_on_bit_for_bit(kind, full):
    options = {"kl_target": 0.5, "kl_horizon": 10.0, "num_mini_batches": 2} if kind == "ppo" else {}
    lora = {} if full else {"lora_dropout": 0.2}
    settings = {"options": options, "dtype": torch.float32, "micro_batch": 2, "full": full, "lora": lora}
    settings["optimizer"] = {"weight_decay": 0.01}
    made, other = learner(kind, **settings), learner(kind, **settings)
    batches = [BATCHES[kind](4, seed=s, dtype=torch.float32) for s in range(4)]
    for batch in batches[:2]:
        made.step(batch)
    tensors, state = made.state()
    copied = {name: {k: t.clone() for k, t in shelf.items()} for name, shelf in tensors.items()}
    for batch in (*batches[2:], batches[0]):
        other.step(batch)  # a learner that has been elsewhere, and further
    other.restore(copied, state)
    assert torch.equal(weights(other), weights(made))
    for batch in batches[2:]:
        assert made.step(batch) == other.step(batch)
        assert torch.equal(weights(other), weights(made))
    assert made.algorithm.state() == other.algorithm.state() and made.steps == other.steps == 4


def test_state_is_json_and_tensors_alone():
    import json

    made = learner("ppo")
    made.step(rollouts(4))
    tensors, state = made.state()
    assert json.loads(json.dumps(state)) == {"steps": 1, "algorithm": {"kl_coef": 0.05}}
    assert set(tensors) == {"policy", "critic", "policy.optimizer", "critic.optimizer"}
    assert all(isinstance(t, torch.Tensor) for shelf in tensors.values() for t in shelf.values())


def test_the_kl_budget_ends_an_updates_passes():
    free = learner("ppo", options={"num_ppo_epochs": 4}, optimizer={"learning_rate": 0.02})
    tight = learner("ppo", options={"num_ppo_epochs": 4, "target_kl": 1e-4}, optimizer={"learning_rate": 0.02})
    wide = learner("ppo", options={"num_ppo_epochs": 4, "target_kl": 1e4}, optimizer={"learning_rate": 0.02})
    counted = Counted(tight)
    batch = rollouts(5)
    assert free.step(batch)["ppo_epochs"] == 4.0
    told = tight.step(batch)
    assert told["ppo_epochs"] == 2.0  # the first pass measures 0, the second sees what the first did
    assert counted.taken["policy"] == 2
    assert wide.step(batch)["ppo_epochs"] == 4.0
    assert torch.equal(weights(wide), weights(free))


def test_the_kl_budget_is_held_against_the_mean_of_the_whole_pass():
    """Not against whichever mini-batch came last."""
    made = learner("ppo", options={"num_mini_batches": 3, "num_ppo_epochs": 2})
    asked = []
    made.algorithm.enough = lambda moments: asked.append(moments["policy/approxkl_avg"].weight)
    batch = rollouts(7)
    made.step(batch)
    assert asked == [float(batch.mask.sum())] * 2


def test_the_adaptive_coefficient_moves_after_the_step_by_what_it_measured():
    made = learner("ppo", options={"kl_target": 0.5, "kl_horizon": 100.0, "kl_coef": 0.05})
    told = made.step(rollouts(5))
    assert told["objective/kl_coef"] == 0.05  # what this step paid
    assert (
        made.algorithm.controller == Controller(0.05, 0.5, 100.0).after(told["objective/kl"], 5) != Controller(0.05, 0.5, 100.0)
    )


def test_evaluation_in_parts_is_the_evaluation_of_the_whole():
    for kind in ("sft", "reward"):
        made = learner(kind)
        before = weights(made)
        batch = BATCHES[kind](6)
        at_once = made.evaluate(iter([batch]))
        parts = made.evaluate(iter([batch.rows([0, 1]), batch.rows(list(range(2, len(batch))))]))
        assert parts == pytest.approx(at_once, rel=1e-12)
        assert torch.equal(weights(made), before)


def test_evaluation_is_without_dropout():
    plain, dropped = learner("sft"), learner("sft", lora={"lora_dropout": 0.5})
    assert plain.evaluate(iter([demonstrations()])) == dropped.evaluate(iter([demonstrations()]))
    dropped.step(demonstrations())
    plain.networks["policy"].restore(dropped.networks["policy"].state())
    assert plain.evaluate(iter([demonstrations()])) == dropped.evaluate(iter([demonstrations()]))


def test_the_logged_loss_is_the_weighted_mean_over_the_step():
    made = learner("sft", options={"entropy_coef": 0.0}, micro_batch=2)
    batch = demonstrations(5)
    with torch.no_grad():
        logp = made.networks["policy"](batch, {"logp"}).logp
    by_hand = -(logp * batch.mask * batch["weight"][:, None]).sum() / (batch.mask * batch["weight"][:, None]).sum()
    told = made.step(batch)
    assert told["loss"] == pytest.approx(float(by_hand), rel=1e-12)
    assert told["nll"] == pytest.approx(float(-(logp * batch.mask).sum() / batch.mask.sum()), rel=1e-12)


def test_weight_decay_is_for_matrices_alone():
    made = learner("reward", optimizer={"weight_decay": 0.1})
    matrices, vectors = made.optimizers["reward"].param_groups
    assert matrices["weight_decay"] == 0.1 and vectors["weight_decay"] == 0.0
    assert {p.dim() for p in matrices["params"]} == {2} and {p.dim() for p in vectors["params"]} == {1}
    assert len(matrices["params"]) + len(vectors["params"]) == len(made.networks["reward"].parameters())


def test_only_what_is_trained_moves():
    made = learner("ppo")
    shared = made.networks["policy"].base
    frozen = {k: v.clone() for k, v in shared.model.state_dict().items() if ".lora_" not in k}
    with torch.no_grad():
        said = made.reference(rollouts(3), {"logp"}).logp
    made.step(rollouts(4))
    now = shared.model.state_dict()
    assert all(torch.equal(now[k], v) for k, v in frozen.items())
    with torch.no_grad():
        assert torch.equal(made.reference(rollouts(3), {"logp"}).logp, said)
