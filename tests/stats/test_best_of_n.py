"""Best of n, pass@k, Gao's curves and calibration: all choices counted, Monte Carlo, scikit-learn."""

import itertools
import math

import numpy as np
import pytest

from plaudit import stats


def test_best_of_n_is_the_mean_over_all_choices():
    rng = np.random.default_rng(0)
    proxy, value = rng.normal(size=(2, 3, 6))
    for n in range(1, 7):
        slow = [
            np.mean([value[p][max(chosen, key=lambda i, p=p: proxy[p][i])] for chosen in itertools.combinations(range(6), n)])
            for p in range(3)
        ]
        np.testing.assert_allclose(stats.best_of_n(proxy, value, n), slow, atol=1e-12)


def test_best_of_n_of_equal_scores_is_chance():
    assert stats.best_of_n([[1.0, 1.0, 0.0]], [[4.0, 2.0, 9.0]], 3) == pytest.approx([3.0])
    assert stats.best_of_n([[0.0] * 4], [[1.0, 0, 0, 0]], 2) == pytest.approx([0.25])


def test_the_best_of_n_is_unbiased():
    rng = np.random.default_rng(1)
    found = stats.best_of_n(*[rng.normal(size=(20000, 8))] * 2, 4).mean()
    assert found == pytest.approx(1.0294, abs=0.01)  # expected maximum of four standard normals


def test_pass_at_k_by_hand():
    assert stats.pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert stats.pass_at_k(5, 2, 2) == pytest.approx(1 - 3 / 10)
    assert stats.pass_at_k(5, 2, 4) == 1.0
    assert stats.pass_at_k(5, 0, 5) == 0.0
    right = np.array([1.0, 1, 0, 0, 0])
    assert stats.best_of_n(right[None], right[None], 2)[0] == pytest.approx(stats.pass_at_k(5, 2, 2))
    with pytest.raises(ValueError, match="pass@k"):
        stats.pass_at_k(5, 2, 6)


def test_kl_of_best_of_n():
    assert stats.kl_of_best_of_n(1) == 0
    assert stats.kl_of_best_of_n(16) == pytest.approx(math.log(16) - 15 / 16)
    with pytest.raises(ValueError, match="at least 1"):
        stats.kl_of_best_of_n(0)


@pytest.mark.parametrize(("kind", "peak"), [("best_of_n", 1.25), ("rl", math.exp(1.5))])
def test_gao_finds_planted_numbers(kind, peak):
    d = np.linspace(0, 6, 20)
    second = d if kind == "best_of_n" else np.log(np.maximum(d, 1e-9))
    alpha, beta = 1.0, 0.4
    fit = stats.fit_gao(d, d * (alpha - beta * second), kind)
    assert (fit.alpha, fit.beta, fit.r2) == pytest.approx((1.0, 0.4, 1.0))
    assert fit.peak == pytest.approx(1.25 if kind == "best_of_n" else math.exp(alpha / beta - 1))
    assert fit.peak == pytest.approx(peak)
    best = max(np.linspace(0.01, 6, 6000), key=fit)
    assert fit.peak == pytest.approx(best, abs=0.01)
    assert stats.fit_gao(d, d, kind).peak is None


def test_the_turning_point_of_an_exploit_is_seen_before_training():
    """Two of a hundred answers please the proxy and nobody else."""
    rng = np.random.default_rng(2)
    gold = rng.normal(size=(200, 64))
    cheat = rng.random((200, 64)) < 0.02
    proxy, truth = gold + 5 * cheat, gold - 3 * cheat
    sizes = [1, 2, 4, 8, 16, 32, 64]
    fit, turn = stats.turning_point(proxy, truth, sizes, resamples=200)
    assert turn.turns > 0.95 and 0.2 < turn.kl.low < turn.kl.mean < turn.kl.high < stats.kl_of_best_of_n(64)
    gained = [stats.best_of_n(proxy, truth, n).mean() for n in sizes]
    assert 0 < int(np.argmax(gained)) < 5 and fit.r2 > 0.5
    honest, never = stats.turning_point(gold, gold, sizes, resamples=100)
    assert never.turns < 0.05 and honest.alpha > 0


def test_reliability_and_its_error_by_hand_and_against_scikit_learn():
    p, y = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 1, 1, 1])
    low, high = stats.reliability(p, y, 2)
    assert (low.rows, low.said, low.found.mean) == (2, pytest.approx(0.15), 0.5)
    assert (high.said, high.found.mean) == (pytest.approx(0.85), 1.0)
    assert stats.brier(p, y) == pytest.approx((0.01 + 0.64 + 0.04 + 0.01) / 4)
    assert stats.log_loss([0.5, 0.5], [0, 1]) == pytest.approx(math.log(2))
    sklearn = pytest.importorskip("sklearn.calibration")
    rng = np.random.default_rng(0)
    p = rng.random(600)
    y = rng.random(600) < p**2
    found, said = sklearn.calibration_curve(y, p, n_bins=10, strategy="quantile")
    bins = stats.reliability(p, y, 10)
    np.testing.assert_allclose([b.said for b in bins], said, atol=1e-12)
    np.testing.assert_allclose([b.found.mean for b in bins], found, atol=1e-12)
    metrics = pytest.importorskip("sklearn.metrics")
    assert stats.log_loss(p, y) == pytest.approx(metrics.log_loss(y, p))
    assert stats.brier(p, y) == pytest.approx(metrics.brier_score_loss(y, p))


def test_an_honest_model_is_not_called_overconfident():
    rng = np.random.default_rng(1)
    p = rng.random(800)
    honest = stats.calibration_error(p, rng.random(800) < p, resamples=100)
    sure = stats.calibration_error(p, rng.random(800) < 0.5 + 0.5 * (p - 0.5), resamples=100)
    assert honest.low < 0.02 and sure.low > 0.05
    assert honest.low <= honest.mean <= honest.high
