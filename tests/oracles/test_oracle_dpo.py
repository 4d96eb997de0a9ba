"""examples/dpo.py and the learner: the same log-probabilities, losses, rewards and weights, step by step, in float64."""

import math

import pytest
import torch
from one_file import OPTIMIZER, TOLERANCE, apart, example, frozen, moved, rows

from plaudit.algorithms.dpo import DPO, DPOConfig
from plaudit.models.network import Network
from plaudit.training.learner import Learner
from plaudit.training.options import OptimizerConfig
from small_networks import base, llama, pairs, whole

dpo = example("dpo")
STEPS = 4


def batches():
    """Pairs whose labels are certain, without margins."""
    found = [pairs(5, seed, weights=False) for seed in range(STEPS)]
    return [
        b.with_(sides={"probability": torch.ones_like(b["margin"]), "margin": torch.zeros_like(b["margin"])}) for b in found
    ]


def as_pairs(batch):
    """(chosen row, rejected row); rows 2i and 2i + 1 are the two answers of pair i."""
    some = rows(batch)
    return list(zip(some[::2], some[1::2], strict=True))


@pytest.mark.parametrize(("loss_type", "smoothing"), [("sigmoid", 0.0), ("sigmoid", 0.1), ("ipo", 0.0)])
def test_the_example_and_the_learner_train_alike(loss_type, smoothing):
    options = {"beta": 0.3, "loss_type": loss_type, "label_smoothing": smoothing}
    made = Learner(
        DPO(DPOConfig(**options)),
        {"policy": whole("policy", seed=0)},
        OptimizerConfig(**OPTIMIZER),
        total_steps=STEPS,
        micro_batch=2,
        reference=Network("reference", base(2)),
    )
    ours = [made.step(batch) for batch in batches()]
    model, rewards = llama(0), []
    before = frozen(model)
    losses = dpo.train(
        model,
        llama(2),
        [as_pairs(batch) for batch in batches()],
        each_step=lambda step, loss, reward: rewards.append(reward.mean(0).tolist()),
        **options,
        **OPTIMIZER,
    )
    assert apart([step["loss"] for step in ours], losses) < TOLERANCE
    assert apart([[step["rewards/chosen"], step["rewards/rejected"]] for step in ours], rewards) < TOLERANCE
    assert apart(moved(made.networks["policy"].base.model, before), moved(model, before)) < TOLERANCE


def test_the_first_loss_is_log_2():
    model = llama(0)
    assert dpo.loss(model, model, as_pairs(batches()[0]), 0.1)[0].item() == pytest.approx(math.log(2))


@pytest.mark.slow
def test_the_example_learns_its_toy():
    losses, chances = dpo.main()
    assert losses[0] == pytest.approx(math.log(2), abs=1e-3) and losses[-1] < 0.5
    assert chances[-1] > 2 * chances[0]
