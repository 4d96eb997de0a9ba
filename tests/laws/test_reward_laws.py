"""Law 1 for batches of their own kind: rankings of any length, answers with pre-training rows beside them, dense rewards."""

import pytest
import torch
from test_gradient_invariance import apart, gradient

from fake_ranks import ranked
from plaudit.training.sources import with_pretraining
from small_networks import demonstrations, gradients, learner, rankings, rollouts


def kept(kind, batch, **settings):
    """Fail where micro-batches, padding, packing or the order of rows move the gradient; else that gradient."""
    whole = gradient(kind, batch, micro_batch=99, **settings)
    assert whole.abs().max() > 1e-3
    for size in (1, 2, 3):
        assert apart(gradient(kind, batch, micro_batch=size, **settings), whole) < 1e-12
    assert apart(gradient(kind, batch.pad_to(batch.ids.shape[1] + 7), micro_batch=2, **settings), whole) < 1e-12
    assert apart(gradient(kind, batch, micro_batch=2, packing=True, **settings), whole) < 1e-12
    shuffled = batch.rows(torch.randperm(len(batch), generator=torch.Generator().manual_seed(5)))
    assert apart(gradient(kind, shuffled, micro_batch=2, **settings), whole) < 1e-12
    return whole


@pytest.mark.parametrize("loss_type", ["auto", "bradley_terry", "plackett_luce"])
def test_rankings_of_any_length_keep_the_law(loss_type):
    kept("reward", rankings(margins=loss_type != "plackett_luce"), options={"loss_type": loss_type})


def with_dense(batch):
    """Answers whose tokens earned rewards of their own too."""
    generator = torch.Generator().manual_seed(8)
    return batch.with_(
        streams={"dense": torch.randn(batch.ids.shape, generator=generator, dtype=batch.mask.dtype) * batch.mask}
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ppo", "reinforce_pp"])
def test_dense_rewards_keep_the_law_and_move_the_gradient(kind):
    plain = rollouts(7)
    assert apart(kept(kind, with_dense(plain)), gradient(kind, plain, micro_batch=99)) > 0.01


PTX = {"ptx_coef": 0.5, "ptx_file": "x"}


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True], ids=["lora", "full"])
def test_pretraining_rows_keep_the_law_and_move_the_gradient(full):
    batch = with_pretraining(rollouts(7), demonstrations(5, seed=9))
    whole = kept("ppo", batch, options=PTX, full=full)
    assert apart(whole, gradient("ppo", rollouts(7), micro_batch=99, full=full)) > 0.01


def test_pretraining_rows_keep_the_law_over_two_ranks():
    batch = with_pretraining(rollouts(7), demonstrations(5, seed=9))
    options = {**PTX, "num_ppo_epochs": 1}
    shares = [
        (learner("ppo", options=options, optimizer={"learning_rate": 1e-300}), batch.rows(rows))
        for rows in ([0, 1, 8], [2, 3, 4, 5, 6, 7, 9, 10, 11])
    ]

    def rank(made, rows, total):
        made.total = total
        made.step(rows)
        return gradients(made)

    assert apart(sum(ranked(rank, shares)), gradient("ppo", batch, options=PTX)) < 1e-12


def test_pretraining_rows_leave_the_first_ratio_at_1():
    batch = with_pretraining(rollouts(7, dtype=torch.float32), demonstrations(5, dtype=torch.float32))
    for autocast in (False, True):
        made = learner("ppo", dtype=torch.float32, autocast=autocast, micro_batch=2, options={**PTX, "num_mini_batches": 2})
        assert made.step(batch)["val/first_pass_ratio_deviation"] == 0.0
