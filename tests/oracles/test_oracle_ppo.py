"""examples/ppo.py and the learner: the same rewards per token, advantages, losses and weights, step by step, in float64."""

import pytest
import torch
from one_file import TOLERANCE, apart, example, frozen, moved, rows

from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.models.network import Network
from plaudit.training import planning
from plaudit.training.learner import Learner
from plaudit.training.options import OptimizerConfig
from small_networks import F64, base, head, llama, rollouts, whole

ppo = example("ppo")
STEPS = 3
OPTIONS = {"cliprange": 0.1, "cliprange_value": 0.3, "vf_coef": 0.4, "kl_coef": 0.1, "gamma": 0.97, "lam": 0.9}
OPTIONS |= {"entropy_coef": 0.02, "critic_learning_rate": 5e-3}


def learner(**options):
    """Policy, critic and reference are three different models."""
    networks = {"policy": whole("policy", seed=0), "critic": whole("critic", scalar=True, seed=1)}
    return Learner(
        PPO(PPOConfig(**OPTIONS, **options), temperature=0.9),
        networks,
        OptimizerConfig(learning_rate=3e-3, max_grad_norm=1.0, adam_epsilon=1e-5),
        total_steps=STEPS,
        micro_batch=2,
        reference=Network("reference", base(2)),
    )


def answers(batch):
    """A batch as the example has it; the learner never sees this form."""
    some = rows(batch)
    return ppo.Answers([ids for ids, _ in some], [mask.index(1) for _, mask in some], batch["reward"].tolist(), F64)


def critic():
    model = ppo.Critic(llama(1).model).double()
    model.head.load_state_dict(head(1).state_dict())
    return model


@pytest.mark.parametrize("whiten", [True, False])
def test_the_example_prepares_a_batch_as_the_algorithm_does(whiten):
    batch = rollouts(6)
    o = ppo.Options(**OPTIONS, temperature=0.9, whiten_advantages=whiten)
    theirs = ppo.prepared(llama(0), llama(2), critic(), answers(batch), o)
    ours = learner(whiten_advantages=whiten).prepared(batch)
    assert float((ours["kl"] * ours.mask).abs().max()) > 0.1
    for name in ("old", "value", "kl", "token_reward", "advantage", "returns"):
        assert apart(ours[name] * ours.mask, getattr(theirs, name) * theirs.mask) < TOLERANCE, name


@pytest.mark.parametrize(("epochs", "parts"), [(1, 1), (2, 3)])
def test_the_example_and_the_learner_train_alike(epochs, parts):
    """With one pass and one part each loss is compared for itself, else the mean over the optimiser steps of an update."""
    made = learner(num_ppo_epochs=epochs, num_mini_batches=parts)
    o = ppo.Options(**OPTIONS, learning_rate=3e-3, temperature=0.9)
    policy, value, reference = llama(0), critic(), llama(2)
    before = {id(network): frozen(network) for network in (policy, value)}
    both = ppo.optimizers(policy, value, o)
    for step in range(STEPS):
        batch = rollouts(6, seed=step)
        minis = [torch.cat(mini) for mini in made.plan(batch)]
        orders = [[minis[i] for i in planning.order(len(minis), epoch, (made.seed, step))] for epoch in range(epochs)]
        ours = made.step(batch)
        prepared = ppo.prepared(policy, reference, value, answers(batch), o)
        losses = torch.tensor(ppo.update(policy, value, both, prepared, o, 1 - step / STEPS, orders), dtype=F64)
        assert len(losses) == epochs * parts
        mean = losses.mean(0)
        assert apart([ours["loss/policy_avg"] + ours["loss/entropy_avg"], ours["loss/value_avg"]], mean) < TOLERANCE
        assert apart(ours["objective/kl"], prepared.kl.sum(-1).mean()) < TOLERANCE
    ends = made.networks["policy"].base.model, made.networks["critic"]
    assert apart(moved(ends[0], before[id(policy)]), moved(policy, before[id(policy)])) < TOLERANCE
    mine = {f"decoder.{name}": p for name, p in ends[1].base.model.model.named_parameters()}
    mine |= {f"head.{name}": p for name, p in ends[1].head.named_parameters()}
    vector = torch.cat([(mine[name].detach() - start).flatten() for name, start in before[id(value)].items()])
    assert apart(vector, moved(value, before[id(value)])) < TOLERANCE


@pytest.mark.slow
def test_the_example_learns_its_toy():
    history = ppo.main()
    assert history[0] < 0.4 and sum(history[-5:]) / 5 > 0.9
