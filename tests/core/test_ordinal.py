"""Cumulative logits against the plain difference of sigmoids, in the tails too; thresholds that keep their order."""

import math

import pytest
import torch

from plaudit.core.ordinal import level_logp, marginal_thresholds
from plaudit.models.heads import OrdinalHead

F64 = torch.float64


def test_levels_are_differences_of_sigmoids():
    score, cuts = torch.linspace(-4, 4, 9, dtype=F64), torch.tensor([-1.5, 0.2, 0.3, 2.0], dtype=F64)
    edges = torch.cat([torch.tensor([-math.inf], dtype=F64), cuts, torch.tensor([math.inf], dtype=F64)])
    cumulative = torch.sigmoid(edges - score[:, None])
    found = level_logp(score, cuts).exp()
    assert torch.allclose(found, cumulative.diff(dim=1), atol=1e-14, rtol=0)
    assert torch.allclose(found.sum(1), torch.ones(9, dtype=F64), atol=1e-14, rtol=0)


def test_two_levels_are_logistic_regression():
    found = level_logp(torch.tensor([0.7], dtype=F64), torch.tensor([0.2], dtype=F64))
    assert found[0].tolist() == pytest.approx([math.log(1 / (1 + math.exp(0.5))), math.log(1 / (1 + math.exp(-0.5)))])


def test_the_tails_stay_finite_and_gradients_too():
    """At a score of 60 the first level is exp(-61) likely; the difference of sigmoids in float32 would be 0."""
    score, cuts = torch.tensor([60.0], requires_grad=True), torch.tensor([-1.0, 1.0], requires_grad=True)
    found = level_logp(score, cuts)
    assert found[0, :2].tolist() == pytest.approx([-61.0, -59.0 + math.log(1 - math.exp(-2.0))], rel=1e-6)
    found.sum().backward()
    assert score.grad.isfinite().all() and cuts.grad.isfinite().all()


def test_the_gradient_is_that_of_the_difference():
    score = torch.tensor([0.3, -1.0], dtype=F64, requires_grad=True)
    cuts = torch.tensor([-0.4, 0.1, 1.0], dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(level_logp, (score, cuts))


def test_first_thresholds_give_the_shares():
    cuts = torch.tensor(marginal_thresholds([2, 5, 1]), dtype=F64)
    assert level_logp(torch.zeros(1, dtype=F64), cuts).exp()[0].tolist() == pytest.approx([0.25, 0.625, 0.125])


def test_a_head_begins_at_its_thresholds_and_keeps_their_order():
    head = OrdinalHead(9, [-1.0, 0.5, 0.6])
    assert head.thresholds().tolist() == pytest.approx([-1.0, 0.5, 0.6], abs=1e-6)
    with torch.no_grad():
        head.cuts -= 1.0  # 3 units each, since the width is 9
    moved = head.thresholds().detach()
    assert float(moved[0]) == pytest.approx(-4.0, abs=1e-5) and (moved.diff() > 0).all()
    hidden = torch.randn(2, 9)
    assert torch.equal(head(hidden), head.scalar()(hidden))
