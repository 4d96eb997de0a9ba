"""examples/sft.py and the learner: the same losses and weights, step by step, in float64."""

import pytest
from one_file import OPTIMIZER, TOLERANCE, apart, example, frozen, moved, rows

from small_networks import demonstrations, learner, llama

sft = example("sft")


def test_the_example_and_the_learner_train_alike():
    batches = [demonstrations(6, seed, weights=False) for seed in range(4)]
    made = learner(
        "sft", options={"entropy_coef": 0.0}, optimizer=OPTIMIZER, full=True, micro_batch=2, total_steps=len(batches)
    )
    ours = [made.step(batch) for batch in batches]
    model = llama()
    before = frozen(model)
    losses = sft.train(model, [rows(batch) for batch in batches], **OPTIMIZER)
    assert apart([step["loss"] for step in ours], losses) < TOLERANCE
    assert min(step["grad_norm"] for step in ours) > 1, "clipping is part of what is compared"
    assert apart(moved(made.networks["policy"].base.model, before), moved(model, before)) < TOLERANCE


@pytest.mark.slow
def test_the_example_learns_its_toy():
    losses, right = sft.main()
    assert losses[0] > 2.5 and right > 0.9
