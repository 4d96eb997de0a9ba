"""Defects of TRL's PPO in the update itself (letters as in docs/trl-ppo-defects.md): steps, statistics, weights, controls."""

import threading

import numpy as np
import pytest
import torch
from defects_world import LENGTHS, Watch, ppo_learner, rollouts

from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.core import advantage

F64 = torch.float64


@pytest.mark.parametrize("mini_batches", [1, 2, 4, 8])
def test_defect_a_num_mini_batches_is_the_number_of_optimiser_steps_and_the_logs_stay_right(mini_batches):
    """There: 4 steps whatever the option says, and val/ratio 1.006, .503, .251, .126."""
    learner = ppo_learner(PPOConfig(num_mini_batches=mini_batches), learning_rate=1e-4, micro_batch=2)
    steps = {role: [] for role in learner.optimizers}
    for role, optimizer in learner.optimizers.items():
        optimizer.parts[0][0].register_step_post_hook(lambda *_, role=role: steps[role].append(1))
    told = learner.step(rollouts())
    assert {role: len(taken) for role, taken in steps.items()} == {"policy": 4 * mini_batches, "critic": 4 * mini_batches}
    assert told["val/ratio"] == pytest.approx(1, abs=0.02)
    assert told["val/first_pass_ratio_deviation"] == 0
    assert told["policy/entropy_avg"] == pytest.approx(told["objective/entropy"], rel=0.01)


class Spy(PPO):
    """PPO that keeps what each pass of the policy said of the tokens that count."""

    seen: list

    def metrics(self, outputs, batch):
        if outputs.logp is not None:
            real = batch.mask > 0
            self.seen.append([x[real].detach() for x in (outputs.logp - batch["old"], outputs.entropy)])
        return super().metrics(outputs, batch)


def spied(micro_batch, width=None):
    """(logged numbers, log-ratios [N], entropies [N]) of one step in float64, the batch padded to `width`."""
    learner = ppo_learner(PPOConfig(num_ppo_epochs=3, cliprange=0.02), algorithm=Spy, dtype=F64, micro_batch=micro_batch)
    learner.algorithm.seen = []
    batch = rollouts(dtype=F64)
    told = learner.step(batch if width is None else batch.pad_to(width))
    return told, *(torch.cat([part[i] for part in learner.algorithm.seen]).numpy() for i in range(2))


def test_defect_k_metrics_are_means_over_real_tokens_however_much_padding_there_is():
    """There: approxkl, entropy and ratio are averaged over padding too. Rows one by one have none; here all agree with that."""
    told, log_ratio, entropy = spied(micro_batch=16, width=80)
    assert len(log_ratio) == 3 * sum(LENGTHS)
    assert told["policy/approxkl_avg"] == pytest.approx((0.5 * log_ratio**2).mean(), rel=1e-12)
    assert told["policy/entropy_avg"] == pytest.approx(entropy.mean(), rel=1e-12)
    assert told["val/ratio"] == pytest.approx(np.exp(log_ratio).mean(), rel=1e-12)
    alone = spied(micro_batch=1)[0]
    assert {n: v for n, v in told.items() if n != "val/first_pass_ratio_deviation"} == pytest.approx(
        {n: v for n, v in alone.items() if n != "val/first_pass_ratio_deviation"}, rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize("micro_batch", [1, 16])
def test_defect_l_the_ratios_variance_is_that_of_the_tokens(micro_batch):
    """There: the variance of micro-batch means, which is 0 with one micro-batch."""
    told, log_ratio, _ = spied(micro_batch)
    assert told["val/ratio_var"] == pytest.approx(np.exp(log_ratio).var(), rel=1e-9)
    assert told["val/ratio_var"] > 1e-6


def gradients(micro_batch):
    learner = ppo_learner(PPOConfig(num_ppo_epochs=1), dtype=F64, micro_batch=micro_batch, max_grad_norm=0.0)
    learner.step(rollouts(dtype=F64))
    return {(r, n): p.grad for r, network in learner.networks.items() for n, p in network.parameters().items()}


@pytest.mark.parametrize("micro_batch", [1, 3, 7])
def test_defect_m_a_token_weighs_the_same_in_every_micro_batch(micro_batch):
    """There: a mean of micro-batch means, so tokens of short rows weigh more."""
    whole, parts = gradients(16), gradients(micro_batch)
    for name, gradient in whole.items():
        assert (gradient - parts[name]).abs().max() <= 1e-12 * max(1.0, float(gradient.abs().max())), name


class Ranks:
    """`total` of two ranks that are threads of this process: every call adds the ranks' tensors up."""

    def __init__(self, count):
        self.barrier, self.shared = threading.Barrier(count), [None] * count

    def of(self, rank):
        def total(x):
            self.shared[rank] = x
            self.barrier.wait()
            both = sum(self.shared)
            self.barrier.wait()
            return both

        return total


def test_defect_n_whitening_is_global_over_ranks_and_biased():
    """There: statistics per rank, with the n - 1 of a sample's variance. Two unequal ranks get what one process gets."""
    batch = rollouts(dtype=F64)
    annotated = ppo_learner(dtype=F64).prepared(batch)
    algorithm = PPO(PPOConfig(whiten_rewards=True))
    whole = algorithm.prepare(annotated)["advantage"]
    shares, ranks, found = [list(range(5)), list(range(5, 16))], Ranks(2), [None, None]

    def work(rank):
        found[rank] = algorithm.prepare(annotated.rows(shares[rank]), ranks.of(rank))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank, rows in enumerate(shares):
        mine = found[rank]["advantage"]
        assert torch.allclose(mine, whole[rows][:, : mine.shape[1]], rtol=0, atol=1e-12)
    values = whole[batch.mask > 0]
    assert float((values**2).mean()) == pytest.approx(1, abs=1e-6)  # n - 1 would give 145/146
    alone = algorithm.prepare(annotated.rows(shares[0]))["advantage"]
    assert not torch.allclose(alone, whole[shares[0]][:, : alone.shape[1]], atol=1e-2), (
        "the two ranks must differ, or this shows nothing"
    )


def test_defect_q_the_adaptive_kl_coefficient_steers_to_its_target():
    learner = ppo_learner(PPOConfig(kl_coef=0.1, kl_target=1e-4, kl_horizon=100.0, kl_estimator="k3"))
    coefficients = [learner.step(rollouts(seed=step))["objective/kl_coef"] for step in range(4)]
    assert coefficients[0] == 0.1
    assert coefficients[1] == pytest.approx(0.1 * (1 - 0.2 * 16 / 100))  # no KL at first: as much less as the clip allows
    assert coefficients[3] == pytest.approx(coefficients[2] * (1 + 0.2 * 16 / 100))  # then far above the target


def test_defect_q_the_entropy_bonus_raises_the_entropy():
    """No reward, so no advantage: what moves the policy is the bonus alone."""
    options = {"num_ppo_epochs": 1, "kl_coef": 0.0, "whiten_advantages": False}
    batch = rollouts().with_(sides={"reward": torch.zeros(16)})
    with_bonus = ppo_learner(PPOConfig(**options, entropy_coef=0.1))
    entropies = [with_bonus.step(batch)["objective/entropy"] for _ in range(4)]
    assert entropies == sorted(entropies) and entropies[-1] > entropies[0] + 1e-3
    without = ppo_learner(PPOConfig(**options))
    assert without.step(batch)["objective/entropy"] == without.step(batch)["objective/entropy"]


def test_defect_q_a_spent_kl_budget_ends_the_passes():
    assert ppo_learner(PPOConfig(target_kl=1e-9)).step(rollouts())["ppo_epochs"] == 2  # the first pass has moved nothing yet
    assert ppo_learner(PPOConfig(target_kl=1e9)).step(rollouts())["ppo_epochs"] == 4


def test_defect_q_the_critic_has_a_learning_rate_of_its_own():
    def moved(rate):
        learner = ppo_learner(PPOConfig(num_ppo_epochs=1, critic_learning_rate=rate), learning_rate=1e-3)
        before = {role: {n: p.detach().clone() for n, p in net.parameters().items()} for role, net in learner.networks.items()}
        learner.step(rollouts())
        return {
            role: max(float((p.detach() - before[role][n]).abs().max()) for n, p in net.parameters().items())
            for role, net in learner.networks.items()
        }

    same, own = moved(None), moved(1e-5)
    assert own["policy"] == same["policy"]
    assert own["critic"] == pytest.approx(same["critic"] / 100, rel=0.05)


def test_defect_t_gae_costs_steps_of_whole_columns_not_of_rows():
    """There: a Python loop over tokens. Operations do not depend on the rows, and grow linearly with the columns."""

    def operations(rows, width):
        names = []
        x = torch.randn(rows, width)
        with Watch(lambda name, inputs, outputs: names.append(name)):
            advantage.gae(x, x, torch.ones(rows, width), 1.0, 0.95)
        return len(names)

    assert operations(2, 10) == operations(500, 10)
    assert operations(2, 30) - operations(2, 20) == operations(2, 20) - operations(2, 10)
    assert (operations(2, 20) - operations(2, 10)) / 10 < 40
