import pytest
import torch

from plaudit.core import advantage

F64 = torch.float64


def t(rows):
    return torch.tensor(rows, dtype=F64)


def slowly(rewards, values, mask, gamma, lam):
    """The slow twin, by definition: A_t = sum_l (gamma lam)^l delta_{t+l} over the counted tokens of one row."""
    advantages = torch.zeros_like(rewards)
    for r in range(rewards.shape[0]):
        at = [i for i in range(rewards.shape[1]) if mask[r, i]]
        v = [*(float(values[r, i]) for i in at), 0.0]
        deltas = [float(rewards[r, i]) + gamma * v[place + 1] - v[place] for place, i in enumerate(at)]
        for place, i in enumerate(at):
            advantages[r, i] = sum((gamma * lam) ** step * delta for step, delta in enumerate(deltas[place:]))
    return advantages, (advantages + values) * mask


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.8), (1.0, 1.0), (1.0, 0.0)])
def test_gae_is_its_definition(gamma, lam):
    generator = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 6, 9, generator=generator, dtype=F64)
    mask = (torch.rand(6, 9, generator=generator) < 0.6).to(F64)
    mask[4] = 0  # a row that counts nothing
    mine = advantage.gae(rewards, values * mask, mask, gamma, lam)
    theirs = slowly(rewards, values * mask, mask, gamma, lam)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-14) for a, b in zip(mine, theirs, strict=True))


def test_gae_by_hand():
    """Prompt of one token, answer of two, padding; gamma 0.5, lambda 0.5.

    delta_2 = 2 - 0.4 = 1.6; delta_1 = 1 + 0.5 * 0.4 - 0.6 = 0.6; A_1 = 0.6 + 0.25 * 1.6 = 1.0.
    """
    got, returns = advantage.gae(t([[0, 1, 2, 0]]), t([[0, 0.6, 0.4, 0]]), t([[0, 1, 1, 0]]), 0.5, 0.5)
    assert got.tolist() == [pytest.approx([0, 1.0, 1.6, 0])]
    assert returns.tolist() == [pytest.approx([0, 1.6, 2.0, 0])]


def test_gaps_are_skipped_as_if_they_were_not_there():
    """What a tool wrote between two turns is not the policy's doing: discounts do not count it, its values are not read."""
    rewards, values = t([[1.0, 50.0, 70.0, 2.0, 3.0]]), t([[0.5, 9.0, 9.0, 0.25, 0.125]])
    gap, joined = t([[1, 0, 0, 1, 1]]), t([[1, 1, 1]])
    mine, returns = advantage.gae(rewards, values, gap, 0.9, 0.8)
    keep = [0, 3, 4]
    without = advantage.gae(rewards[:, keep], values[:, keep], joined, 0.9, 0.8)
    assert torch.equal(mine[:, keep], without[0]) and torch.equal(returns[:, keep], without[1])
    assert not mine[:, 1:3].any() and not returns[:, 1:3].any()


def test_lambda_1_and_gamma_1_give_the_reward_to_go():
    rewards, values, mask = t([[0, 1, -2, 4]]), t([[0, 0.3, 0.7, 0.1]]), t([[0, 1, 1, 1]])
    got, returns = advantage.gae(rewards, values, mask, 1.0, 1.0)
    assert returns.tolist() == [pytest.approx([0, 3, 2, 4])]
    assert got.tolist() == [pytest.approx([0, 2.7, 1.3, 3.9])]


def test_garbage_outside_the_mask_is_never_read():
    mask = t([[0, 1, 1, 0], [0, 1, 0, 0]])
    clean = advantage.gae(t([[0, 1, 2, 0], [0, 3, 0, 0]]), t([[0, 1, 1, 0], [0, 1, 0, 0]]), mask, 0.9, 0.9)
    dirty = advantage.gae(t([[9, 1, 2, 9], [9, 3, 9, 9]]), t([[9, 1, 1, 9], [9, 1, 9, 9]]), mask, 0.9, 0.9)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty, strict=True))


def test_the_last_counted_token():
    mask = t([[0, 1, 1, 0], [1, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    assert advantage.last_token(mask).tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_the_score_is_paid_on_the_last_counted_token_only():
    mask = t([[0, 1, 1, 0], [0, 1, 0, 1]])
    got = advantage.token_rewards(t([5, -1]), t([[7, 0.5, 0.25, 7], [7, 1, 7, 2]]), mask, 0.1)
    assert got.tolist() == [pytest.approx([0, -0.05, 4.975, 0]), pytest.approx([0, -0.1, 0, -1.2])]


# -- among siblings -------------------------------------------------------------------------------------------------------

REWARD = torch.tensor([1.0, 4.0, 3.0, 8.0, 5.0], dtype=F64)
GROUP = torch.tensor([7, 2, 7, 7, 9])
"""Prompt 7 has the rewards 1, 3, 8; prompts 2 and 9 have one answer each. Rows of a group need not stand together."""


def test_means_and_deviations_of_groups_of_any_size():
    assert advantage.group_mean(REWARD, GROUP).tolist() == [4.0, 4.0, 4.0, 4.0, 5.0]
    spread = ((9 + 1 + 16) / 2) ** 0.5
    assert advantage.group_deviation(REWARD, GROUP).tolist() == pytest.approx([spread, 0.0, spread, spread, 0.0])


def test_leave_one_out_takes_the_mean_of_the_others():
    assert advantage.leave_one_out(REWARD, GROUP).tolist() == [1 - 5.5, 0.0, 3 - 4.5, 8 - 2.0, 0.0]


def test_rewards_to_go_by_hand():
    rewards, mask = t([[1.0, 2.0, 4.0, 9.0]]), t([[0.0, 1.0, 1.0, 0.0]])
    assert advantage.rewards_to_go(rewards, mask, 0.5).tolist() == [[0.0, 4.0, 4.0, 0.0]]
