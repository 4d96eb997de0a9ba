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
