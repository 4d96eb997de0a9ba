"""Our statistics beside those of evalica and scipy, where they have them too; alpha is in test_agreement_figures.py."""

import numpy as np
import pytest

from plaudit import stats


@pytest.mark.parametrize(("successes", "n"), [(0, 7), (3, 7), (7, 7), (50, 100), (1, 1), (999, 1000)])
def test_wilson_against_scipy(successes, n):
    scipy_stats = pytest.importorskip("scipy.stats")
    low, high = scipy_stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    found = stats.wilson(successes, n, z=scipy_stats.norm.ppf(0.975))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)


def test_spearman_with_ties_against_scipy():
    scipy_stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(6, size=30), rng.integers(6, size=30)
        assert stats.spearman(a, b) == pytest.approx(scipy_stats.spearmanr(a, b).statistic, abs=1e-12)


@pytest.mark.parametrize("votes", [1, 3, 5, 9])
def test_the_accuracy_of_a_majority_against_scipys_binomial(votes):
    scipy_stats = pytest.importorskip("scipy.stats")
    for accuracy in (0.5, 0.62, 0.9):
        assert stats.majority_accuracy(accuracy, votes) == pytest.approx(scipy_stats.binom.sf(votes // 2, votes, accuracy))


def test_the_bootstrap_interval_against_scipys():
    scipy_stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).normal(size=80)
    theirs = scipy_stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    ours = stats.bootstrap_mean(values, resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_bradley_terry_against_evalica():
    evalica = pytest.importorskip("evalica")
    rng = np.random.default_rng(1)
    theta = np.array([-0.8, -0.1, 0.2, 0.7])
    left, right, winners, table = [], [], [], np.zeros((4, 4))
    for _ in range(800):
        i, j = rng.choice(4, 2, replace=False)
        first = rng.random() < 1 / (1 + np.exp(theta[j] - theta[i]))
        left.append(f"model {i}")
        right.append(f"model {j}")
        winners.append(evalica.Winner.X if first else evalica.Winner.Y)
        table[(i, j) if first else (j, i)] += 1
    theirs = evalica.bradley_terry(left, right, winners, tolerance=1e-12, limit=10_000).scores
    logs = np.log([theirs[f"model {place}"] for place in range(4)])
    ours = stats.bradley_terry(table, ridge=1e-9)
    assert ours - ours.mean() == pytest.approx(logs - logs.mean(), abs=1e-5)
