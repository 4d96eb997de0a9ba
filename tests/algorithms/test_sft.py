import math

import pytest
import torch

from plaudit.algorithms.base import Moments
from plaudit.algorithms.sft import SFT, SFTConfig
from plaudit.core.batch import Outputs, from_rows

F64 = torch.float64


def batch(**sides):
    return from_rows([[5, 6, 7, 8], [9, 3]], [[0, 0, 1, 1], [0, 1]], sides=sides, dtype=F64)


def outputs(padding=0.0):
    logp = torch.tensor([[0, 0, -1, -2], [0, -4, 0, 0]], dtype=F64)
    entropy = torch.tensor([[0, 0, 0.5, 1], [0, 2, 0, 0]], dtype=F64)
    empty = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 1]], dtype=F64) * padding
    return Outputs(logp=logp + empty, entropy=entropy + empty)


def value(algorithm, prepared, out):
    """Loss as the learner makes it: terms by weights, each divided by its sum over the step."""
    prepared = prepared.normalised({name: float(w.sum()) for name, w in prepared.weight.items()})
    return sum(float((term * prepared.weight[name]).sum()) for name, term in algorithm.loss(out, prepared).items())


def test_the_loss_is_the_mean_over_trained_tokens():
    sft = SFT(SFTConfig())
    assert value(sft, sft.prepare(batch()), outputs()) == pytest.approx(7 / 3)  # of tokens, not (3/2 + 4) / 2 of rows


def test_rows_can_be_weighted():
    sft = SFT(SFTConfig())
    # (3 * (1 + 2) + 1 * 4) / (3 * 2 + 1)
    assert value(sft, sft.prepare(batch(weight=[3.0, 1.0])), outputs()) == pytest.approx(13 / 7)


def test_the_entropy_bonus_is_taken_off():
    sft = SFT(SFTConfig(entropy_coef=0.3))
    assert value(sft, sft.prepare(batch()), outputs()) == pytest.approx(7 / 3 - 0.3 * 3.5 / 3)
    assert set(SFT(SFTConfig()).loss(outputs(), batch())) == {"nll"}


def test_padding_never_enters():
    sft = SFT(SFTConfig(entropy_coef=0.3))
    prepared = sft.prepare(batch())
    assert value(sft, prepared, outputs(padding=77.0)) == value(sft, prepared, outputs())
    assert sft.metrics(outputs(padding=77.0), prepared) == sft.metrics(outputs(), prepared)


def test_metrics_are_means_over_trained_tokens():
    sft = SFT(SFTConfig())
    found = sft.summarise(sft.metrics(outputs(), sft.prepare(batch(weight=[3.0, 1.0]))))
    assert found == pytest.approx({"nll": 7 / 3, "entropy": 3.5 / 3})


def test_moments_of_parts_are_the_moments_of_the_whole():
    x, w = torch.tensor([1.0, 2, 3, 50, -8]), torch.tensor([1.0, 1, 2, 0, 0])
    whole, parts = Moments.of(x, w), Moments.of(x[:2], w[:2]) + Moments.of(x[2:], w[2:])
    assert parts == whole and (whole.mean, whole.low, whole.high) == (2.25, 1.0, 3.0)
    assert whole.variance == pytest.approx((1.25**2 + 0.25**2 + 2 * 0.75**2) / 4)
    nothing = Moments.of(x[:0], w[:0])
    assert math.isnan(nothing.mean) and math.isnan(nothing.variance) and nothing + whole == whole
