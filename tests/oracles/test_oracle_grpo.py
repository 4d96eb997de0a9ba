"""examples/grpo.py and the learner: the same advantages, losses and weights, step by step, in float64."""

import pytest
import torch
from one_file import TOLERANCE, apart, example, frozen, moved, rows

from plaudit.algorithms.grpo import GRPO, GRPOConfig
from plaudit.models.network import Network
from plaudit.training.learner import Learner
from plaudit.training.options import OptimizerConfig
from small_networks import F64, base, llama, rollouts, whole

grpo = example("grpo")
STEPS, SIBLINGS, LIMIT = 3, 2, 9


def learner(**options):
    """Policy and reference are two different models."""
    return Learner(
        GRPO(GRPOConfig(**options), temperature=0.9),
        {"policy": whole("policy", seed=0)},
        OptimizerConfig(learning_rate=3e-3, max_grad_norm=1.0, adam_epsilon=1e-6),
        total_steps=STEPS,
        micro_batch=2,
        reference=Network("reference", base(2)) if options["beta"] else None,
    )


def answers(batch):
    """A batch as the example has it."""
    some = rows(batch)
    return grpo.Answers([ids for ids, _ in some], [mask.index(1) for _, mask in some], batch["reward"].tolist(), F64)


@pytest.mark.parametrize(("beta", "corrected"), [(0.0, True), (0.1, True), (0.1, False)])
@pytest.mark.parametrize(
    ("loss_type", "scale", "iterations"), [("dapo", "group", 1), ("grpo", "group", 3), ("dr_grpo", "none", 3)]
)
def test_the_example_and_the_learner_train_alike(loss_type, scale, iterations, beta, corrected):
    """With one pass each loss is compared for itself, else the mean over the passes of an update."""
    options = {"loss_type": loss_type, "beta": beta, "epsilon": 0.1, "epsilon_high": 0.15, "num_iterations": iterations}
    options["use_bias_correction_kl"] = corrected
    made = learner(**options, scale_rewards=scale)
    o = grpo.Options(
        **options,
        scale_rewards=scale == "group",
        num_generations=SIBLINGS,
        max_completion_length=LIMIT,
        learning_rate=3e-3,
        temperature=0.9,
        adam_epsilon=1e-6,
    )
    policy = llama(0)
    before, optimizer = frozen(policy), grpo.adamw(policy, o)
    for step in range(STEPS):
        batch = rollouts(6, seed=step)
        prepared = grpo.prepared(policy, llama(2), answers(batch), o)
        assert apart(made.prepared(batch)["advantage"], prepared.advantage[:, 0]) < TOLERANCE
        losses = grpo.update(policy, optimizer, prepared, o, 1 - step / STEPS)
        ours = made.step(batch)
        assert len(losses) == iterations
        assert apart(ours["loss"], torch.tensor(losses, dtype=F64).mean()) < TOLERANCE
        if iterations > 1:
            assert ours["clip_ratio/region_mean"] > 0, "clipping is part of what is compared"
    assert apart(moved(made.networks["policy"].base.model, before), moved(policy, before)) < TOLERANCE


@pytest.mark.slow
def test_the_example_learns_its_toy():
    history = grpo.main()
    assert history[0] < 0.4 and sum(history[-5:]) / 5 > 0.9
