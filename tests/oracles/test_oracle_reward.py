"""examples/reward.py and the learner: the same losses, accuracies and weights, step by step, in float64."""

import math

import pytest
import torch
from one_file import OPTIMIZER, TOLERANCE, apart, example, frozen, moved, rows

from small_networks import head, learner, llama, pairs

reward = example("reward")


def as_pairs(batch):
    """(chosen ids, rejected ids, margin); rows 2i and 2i + 1 are the two answers of pair i."""
    ids = [row for row, _ in rows(batch)]
    return list(zip(ids[::2], ids[1::2], batch["margin"][::2].tolist(), strict=True))


@pytest.mark.parametrize("centre", [0.0, 0.05])
def test_the_example_and_the_learner_train_alike(centre):
    batches = [pairs(5, seed, weights=False) for seed in range(4)]
    batches = [batch.with_(sides={"probability": torch.ones_like(batch["margin"])}) for batch in batches]
    options = {"center_rewards_coefficient": centre}
    made = learner("reward", options=options, optimizer=OPTIMIZER, full=True, micro_batch=2, total_steps=len(batches))
    network = made.networks["reward"]
    model = reward.RewardModel(llama().model).double()
    model.head.load_state_dict(head(0).state_dict())
    before = frozen(model)
    losses, accuracies = [], []
    ours = [made.step(batch) for batch in batches]
    reward.train(
        model,
        [as_pairs(batch) for batch in batches],
        center_rewards_coefficient=centre,
        each_step=lambda step, loss, accuracy: (losses.append(loss), accuracies.append(accuracy)),
        **OPTIMIZER,
    )
    assert apart([step["loss"] for step in ours], losses) < TOLERANCE
    assert [step["accuracy"] for step in ours] == pytest.approx(accuracies)
    ends = {f"decoder.{name}": p for name, p in network.base.model.model.named_parameters()}
    ends |= {f"head.{name}": p for name, p in network.head.named_parameters()}
    mine = torch.cat([(ends[name].detach() - start).flatten() for name, start in before.items()])
    assert apart(mine, moved(model, before)) < TOLERANCE


def test_a_new_head_gives_log_2():
    model = reward.RewardModel(llama().model).double()
    assert reward.loss(model, as_pairs(pairs(3).with_(sides={"margin": torch.zeros(6)})))[0].item() == pytest.approx(
        math.log(2)
    )


@pytest.mark.slow
def test_the_example_learns_its_toy():
    losses, accuracy = reward.main()
    assert losses[-1] < losses[0] and accuracy > 0.9
