import math

import pytest
import torch

from fake_ranks import ranked
from plaudit.core import masked

F64 = torch.float64
X = torch.tensor([[1.0, 2.0, 99.0], [3.0, 6.0, -99.0]], dtype=F64)
MASK = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]], dtype=F64)


def test_mean_and_variance_by_hand():
    assert float(masked.mean(X, MASK)) == 3.0  # (1 + 2 + 3 + 6) / 4
    assert float(masked.variance(X, MASK)) == 3.5  # (4 + 1 + 0 + 9) / 4: biased
    assert float(masked.mean(X, torch.zeros_like(MASK))) == 0.0


def test_a_mask_of_one_row_counts_once_for_each_row():
    assert float(masked.mean(X, torch.tensor([1.0, 0.0, 0.0], dtype=F64))) == 2.0


def test_whiten_by_hand():
    white = masked.whiten(X, MASK, eps=0.0)
    s = math.sqrt(3.5)
    assert white.tolist() == [pytest.approx([-2 / s, -1 / s, 0.0]), pytest.approx([0.0, 3 / s, 0.0])]
    assert float(masked.mean(white, MASK)) == pytest.approx(0.0, abs=1e-15)
    assert float(masked.variance(white, MASK)) == pytest.approx(1.0)


def test_whiten_that_keeps_the_mean_only_scales():
    white = masked.whiten(X, MASK, keep_mean=True, eps=0.0)
    s = math.sqrt(3.5)
    assert white.tolist() == [pytest.approx([3 - 2 / s, 3 - 1 / s, 0.0]), pytest.approx([3.0, 3 + 3 / s, 0.0])]
    assert float(masked.mean(white, MASK)) == pytest.approx(3.0)


def test_whiten_of_equal_numbers_is_0_and_not_nan():
    same = torch.full((2, 3), 5.0, dtype=F64)
    assert not masked.whiten(same, MASK).any()
    assert torch.equal(masked.whiten(same, MASK, keep_mean=True), same * MASK)


@pytest.mark.parametrize("keep_mean", [False, True])
@pytest.mark.parametrize("cut", [1, 2], ids=["one counts nothing", "both count"])
def test_two_ranks_with_unequal_shares_see_what_one_process_sees(keep_mean, cut):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 4, generator=generator, dtype=F64)
    mask = (torch.rand(5, 4, generator=generator) < 0.6).to(F64)
    mask[0] = 0
    shares = [(x[:cut], mask[:cut]), (x[cut:], mask[cut:])]
    assert [float(v) for v in ranked(masked.mean, shares)] == [pytest.approx(float(masked.mean(x, mask)))] * 2
    assert [float(v) for v in ranked(masked.variance, shares)] == [pytest.approx(float(masked.variance(x, mask)))] * 2
    parts = ranked(lambda a, m, total: masked.whiten(a, m, keep_mean=keep_mean, total=total), shares)
    assert torch.allclose(torch.cat(parts), masked.whiten(x, mask, keep_mean=keep_mean), rtol=1e-12)


def test_statistics_are_those_of_the_counted_entries_gathered_by_python():
    generator = torch.Generator().manual_seed(1)
    x, mask = torch.randn(6, 7, generator=generator, dtype=F64), (torch.rand(6, 7, generator=generator) < 0.5).to(F64)
    kept = [a for a, m in zip(x.flatten().tolist(), mask.flatten().tolist(), strict=True) if m]
    mean = sum(kept) / len(kept)
    assert float(masked.mean(x, mask)) == pytest.approx(mean)
    assert float(masked.variance(x, mask)) == pytest.approx(sum((a - mean) ** 2 for a in kept) / len(kept))
