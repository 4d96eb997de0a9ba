"""Label errors, and what more labels are worth: by hand and on planted data."""

import math

import numpy as np
import pytest

from plaudit import stats


def test_confident_learning_by_hand():
    # Class 0: p_0 = .9, .8, .1 -> t_0 = .6; class 1: p_1 = .7, .9, .35 -> t_1 = .65.
    labels = [0, 0, 0, 1, 1, 1]
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7], [0.1, 0.9], [0.65, 0.35]])
    found = stats.confident_learning(labels, p)
    # Row 2 reaches t_1 = .65 and row 5 reaches t_0 = .6: both are counted on the other side.
    assert found.suspect.tolist() == [False, False, True, False, False, True]
    assert found.joint == pytest.approx(np.array([[2, 1], [1, 2]]) / 6)
    assert found.share == pytest.approx(1 / 3)
    # .6 for class 1 is more than .4, but less than the .9 that its own labels have: no suspicion.
    unsure = stats.confident_learning([0, 0, 0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.1, 0.9]])
    assert not unsure.suspect.any()


def test_confident_learning_finds_planted_errors():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=1500)
    p = np.full((1500, 3), 0.1) + 0.7 * np.eye(3)[truth]
    p = p + rng.uniform(0, 0.15, p.shape)
    p /= p.sum(1, keepdims=True)
    flipped = rng.random(1500) < 0.2
    labels = np.where(flipped, (truth + 1) % 3, truth)
    found = stats.confident_learning(labels, p)
    assert found.share == pytest.approx(0.2, abs=0.02)
    assert (found.suspect == flipped).mean() > 0.98
    assert not stats.confident_learning(
        [0, 0], [[0.6, 0.4], [0.9, 0.1]]
    ).suspect.any()  # a class that nobody gave is no suspicion
    with pytest.raises(ValueError, match="classes below K"):
        stats.confident_learning([2], [[0.5, 0.5]])


def test_temperature_makes_scores_as_sure_as_they_are_right():
    rng = np.random.default_rng(0)
    gaps = rng.normal(0, 6, 4000)
    outcomes = (rng.random(4000) < 1 / (1 + np.exp(-gaps / 3))).astype(float)  # three times less sure than the gaps say
    assert stats.score_temperature(gaps, outcomes) == pytest.approx(1 / 3, rel=0.1)
    assert stats.score_temperature(gaps, 1 - outcomes) == 0.0  # scores that point the wrong way say nothing
    assert stats.score_temperature([0.0, 0.0], [1.0, 0.0]) == 0.0
    assert 0 < stats.score_temperature([1.0, 2.0], [1.0, 1.0]) < 10


def test_widths_and_sizes_by_hand():
    assert stats.half_width(0.7, 500) == pytest.approx(1.96 * math.sqrt(0.21 / 500))
    assert [round(100 * stats.half_width(0.7, n), 1) for n in (200, 500, 1000, 2000)] == [6.4, 4.0, 2.8, 2.0]
    assert stats.pairs_for_half_width(0.7, 0.02) == math.ceil(1.96**2 * 0.21 / 0.0004)
    assert stats.pairs_for_half_width(0.5, stats.half_width(0.5, 300)) == 300
    with pytest.raises(ValueError, match="width above 0"):
        stats.pairs_for_half_width(0.5, 0)


def test_majorities_by_hand():
    assert stats.majority_accuracy(0.7, 1) == pytest.approx(0.7)
    assert stats.majority_accuracy(0.7, 3) == pytest.approx(0.7**3 + 3 * 0.49 * 0.3)
    assert stats.majority_accuracy(0.7, 2) == pytest.approx(0.7)  # a draw is a coin
    assert stats.majority_accuracy(0.5, 9) == pytest.approx(0.5)


def test_learning_curve_goes_through_its_points():
    line = stats.learning_curve([(1000, 0.60, 500), (2000, 0.63, 500)])
    assert line.slope == pytest.approx(0.03) and line.start + line.slope * math.log2(1000) == pytest.approx(0.60)
    gain = line.gain(2000, 2000)  # one doubling
    assert gain.mean == pytest.approx(0.03)
    # Its error is that of the difference of two accuracies on 500 pairs each, shares as (301 + ...) / 502.
    shares = [(0.60 * 500 + 1) / 502, (0.63 * 500 + 1) / 502]
    assert gain.high - gain.mean == pytest.approx(1.96 * math.sqrt(sum(s * (1 - s) / 500 for s in shares)))
    twice = line.gain(2000, 6000)  # two doublings: twice the gain, twice the error
    assert (twice.mean, twice.high) == pytest.approx((2 * gain.mean, 2 * gain.high))
    with pytest.raises(ValueError, match="two sizes"):
        stats.learning_curve([(1000, 0.6, 500), (1000, 0.7, 500)])


def test_the_interval_of_a_learning_curve_holds_the_truth():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        points = [(n, rng.binomial(400, 0.4 + 0.02 * math.log2(n)) / 400, 400) for n in (500, 1000, 2000, 4000)]
        gain = stats.learning_curve(points).gain(4000, 4000)
        held += gain.low <= 0.02 <= gain.high
    assert 0.91 <= held / 300 <= 0.98
