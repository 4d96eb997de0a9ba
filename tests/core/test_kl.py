import math

import pytest
import torch

from plaudit.core import kl

F64 = torch.float64


def test_the_estimators_by_hand():
    logp, ref = torch.tensor([math.log(0.5)], dtype=F64), torch.tensor([math.log(0.25)], dtype=F64)
    d = math.log(2)
    assert kl.estimate(logp, ref, "k1").tolist() == pytest.approx([d])
    assert kl.estimate(logp, ref, "k2").tolist() == pytest.approx([d * d / 2])
    assert kl.estimate(logp, ref, "k3").tolist() == pytest.approx([0.5 - 1 + d])
    assert kl.estimate(ref, logp, "k3").tolist() == pytest.approx([2 - 1 - d])
    assert kl.estimate(logp, ref).tolist() == kl.estimate(logp, ref, "k1").tolist()


def test_k1_and_k3_are_unbiased_and_k2_is_not():
    """By exact enumeration: sum_y p(y) k(y) against KL(p || q), no sampling."""
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(2, 12, generator=generator, dtype=F64) * 1.5).softmax(-1)
    exact = float((p * (p / q).log()).sum())
    expected = {k: float((p * kl.estimate(p.log(), q.log(), k)).sum()) for k in ("k1", "k2", "k3")}
    assert expected["k1"] == pytest.approx(exact, rel=1e-12) and expected["k3"] == pytest.approx(exact, rel=1e-12)
    assert abs(expected["k2"] / exact - 1) > 0.05


def test_k3_is_never_negative_and_exact_near_0():
    gap = torch.tensor([-3.0, -1e-9, 0.0, 1e-9, 3.0], dtype=F64)
    k3 = kl.estimate(gap, torch.zeros_like(gap), "k3")
    assert (k3 >= 0).all() and float(k3[2]) == 0.0


def test_an_unknown_estimator_is_refused():
    with pytest.raises(ValueError, match="k1, k2 or k3, not 'k4'"):
        kl.estimate(torch.zeros(1), torch.zeros(1), "k4")


@pytest.mark.parametrize(
    ("measured", "error"),
    [(6.0, 0.0), (6.6, 0.1), (5.4, -0.1), (12.0, 0.2), (7.2, 0.2), (0.0, -0.2), (-5.0, -0.2)],
)
def test_the_adaptive_controller_by_zieglers_formula(measured, error):
    """e = clip(KL / 6 - 1, -0.2, 0.2); coefficient 0.1 * (1 + e * 50 / 1000)."""
    before = kl.Controller(0.1, target=6.0, horizon=1000.0)
    assert before.after(measured, 50).coefficient == pytest.approx(0.1 * (1 + error * 0.05), rel=1e-12)
    assert before.coefficient == 0.1


def test_a_fixed_controller_stays():
    fixed = kl.Controller(0.1)
    assert fixed.after(1000.0, 10_000) is fixed
