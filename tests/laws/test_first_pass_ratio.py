"""Law 4: on the first pass the ratio is 1 to the last bit, whatever the precision and however the batch is cut."""

import pytest
import torch

from small_networks import KINDS, kind_of, learner, rollouts, weights

DEVIATION = "val/first_pass_ratio_deviation"


@pytest.mark.parametrize("micro_batch", [1, 2, 99])
@pytest.mark.parametrize("packing", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
def test_the_first_ratio_is_exactly_1(autocast, packing, micro_batch):
    made = learner(
        "ppo", dtype=torch.float32, autocast=autocast, packing=packing, micro_batch=micro_batch, options={"num_mini_batches": 2}
    )
    for step in range(2):  # the second step's old log-probabilities come from weights that have moved
        metrics = made.step(rollouts(7, seed=step, dtype=torch.float32))
        assert metrics[DEVIATION] == 0.0
        assert metrics["val/ratio_var"] > 0  # later passes do move


@pytest.mark.parametrize("kind", [name for name in KINDS if kind_of(name).eats == "prompts"])
@pytest.mark.parametrize("autocast", [False, True], ids=["float32", "bf16"])
def test_it_is_1_for_every_algorithm_that_has_a_ratio(kind, autocast):
    for sharing in (False, True):
        made = learner(kind, dtype=torch.float32, autocast=autocast, micro_batch=2, sharing=sharing)
        for step in range(2):
            metrics = made.step(rollouts(7, seed=step, dtype=torch.float32))
            assert metrics.get(DEVIATION, 0.0) == 0.0
            assert (DEVIATION in metrics) == ("val/ratio" in metrics)


@pytest.mark.slow
def test_it_is_1_with_full_fine_tuning_a_shared_trunk_and_checkpointing_too():
    batch = rollouts(5, dtype=torch.float32)
    for settings in ({"full": True}, {"lora": {"lora_layers": 1}}, {"checkpointing": True}, {"lora": {"lora_dropout": 0.5}}):
        for autocast in (False, True):
            made = learner("ppo", dtype=torch.float32, autocast=autocast, micro_batch=2, **settings)
            assert made.step(batch)[DEVIATION] == 0.0


def test_old_log_probabilities_are_those_of_the_temperature_that_was_sampled_at():
    made = learner("ppo", micro_batch=2)
    batch = rollouts(4)
    prepared = made.prepared(batch)
    policy = made.networks["policy"]
    with torch.no_grad():
        hot, plain = policy(batch, {"logp"}, temperature=0.9).logp, policy(batch, {"logp"}).logp
    assert torch.allclose(prepared["old"], hot, rtol=1e-12) and not torch.allclose(prepared["old"], plain, rtol=1e-3)


def test_lora_dropout_is_off_in_rl():
    """With it on, old and new log-probabilities would differ by chance; the step is bit for bit the one without."""
    ends = []
    for rate in (0.0, 0.5):
        made = learner("ppo", micro_batch=2, lora={"lora_dropout": rate})
        made.step(rollouts(4))
        ends.append(weights(made))
    assert torch.equal(*ends)
