import math

import pytest
import torch

from plaudit.core import surrogate

F64 = torch.float64

# ratio, advantage -> loss, whether the gradient is cut; eps 0.2
QUADRANTS = [
    (1.5, 2.0, -1.2 * 2.0, True),  # up enough already
    (1.5, -2.0, 1.5 * 2.0, False),  # went up where it should not: pushed back in full
    (0.5, 2.0, -0.5 * 2.0, False),  # went down where it should not: pushed back in full
    (0.5, -2.0, 0.8 * 2.0, True),  # down enough already
    (1.1, 2.0, -1.1 * 2.0, False),
    (0.9, -2.0, 0.9 * 2.0, False),
]


@pytest.mark.parametrize(("ratio", "advantage", "loss", "cut"), QUADRANTS)
def test_the_four_quadrants_and_the_middle(ratio, advantage, loss, cut):
    logp = torch.tensor([math.log(ratio) - 1.0], dtype=F64, requires_grad=True)
    old, adv = torch.tensor([-1.0], dtype=F64), torch.tensor([advantage], dtype=F64)
    got = surrogate.clipped(logp, old, adv, 0.2, 0.2)
    got.sum().backward()
    assert got.tolist() == pytest.approx([loss])
    assert logp.grad.tolist() == pytest.approx([0.0 if cut else -ratio * advantage])  # d ratio / d logp = ratio
    assert surrogate.clip_fraction(logp.detach(), old, adv, 0.2, 0.2).tolist() == [float(cut)]


def test_the_two_sides_are_clipped_by_their_own_bounds():
    old, adv = torch.zeros(2, dtype=F64), torch.tensor([1.0, -1.0], dtype=F64)
    logp = torch.tensor([math.log(2.0), math.log(0.1)], dtype=F64)
    assert surrogate.clipped(logp, old, adv, 0.3, 0.5).tolist() == pytest.approx([-1.5, 0.7])


def test_at_ratio_1_the_gradient_is_the_policy_gradient():
    logp = torch.tensor([-0.3, -2.0], dtype=F64, requires_grad=True)
    adv = torch.tensor([1.5, -0.5], dtype=F64)
    surrogate.clipped(logp, logp.detach(), adv, 0.2, 0.2).sum().backward()
    assert torch.equal(logp.grad, -adv)


def test_the_dual_clip_bounds_what_a_runaway_ratio_costs():
    """ratio 10, advantage -2: PPO pays 20; with a ceiling of 3 it pays 6 and the gradient is 0. Positive ones stay."""
    log_ratio = torch.tensor([math.log(10.0), math.log(1.1)], dtype=F64, requires_grad=True)
    advantage = torch.tensor([-2.0, 2.0], dtype=F64)
    free = surrogate.two_sided(log_ratio, advantage, 0.2, 0.2)
    assert free.tolist() == pytest.approx([20.0, -2.2])
    held = surrogate.two_sided(log_ratio, advantage, 0.2, 0.2, ceiling=3.0)
    assert held.tolist() == pytest.approx([6.0, -2.2])
    held.sum().backward()
    assert log_ratio.grad.tolist() == pytest.approx([0.0, -2.2])


def test_two_sided_without_a_ceiling_is_ppos():
    logp = torch.linspace(-2, 1, 13, dtype=F64)
    for a in (-1.5, 2.0):
        advantage = torch.full_like(logp, a)
        old = torch.full_like(logp, -0.5)
        assert torch.equal(
            surrogate.two_sided(logp - old, advantage, 0.1, 0.3), surrogate.clipped(logp, old, advantage, 0.1, 0.3)
        )


def test_a_clipped_weight_keeps_its_gradient():
    """CISPO: ratio 4 is weighed 2; the gradient is -2 A whatever the ratio."""
    logp = torch.tensor([0.0], dtype=F64, requires_grad=True)
    term = surrogate.clipped_weight(logp + math.log(4.0), logp - 0.7, torch.tensor([3.0], dtype=F64), 2.0)
    assert term.tolist() == pytest.approx([-2.0 * 3.0 * -0.7])
    term.sum().backward()
    assert logp.grad.tolist() == [-6.0]


def test_the_ratio_of_a_sequence_is_the_geometric_mean_of_its_tokens():
    log_ratio = torch.tensor([[9.0, math.log(2.0), math.log(8.0)], [1.0, 1.0, 1.0]], dtype=F64)
    mask = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]], dtype=F64)
    assert surrogate.sequence_log_ratio(log_ratio, mask).exp().flatten().tolist() == pytest.approx([4.0, 1.0])


def test_truncated_importance_weights():
    old, sampler = torch.tensor([0.0, 0.0], dtype=F64), torch.tensor([math.log(2.0), -math.log(5.0)], dtype=F64)
    assert surrogate.truncated_weight(old, sampler, 2.0).tolist() == pytest.approx([0.5, 2.0])
