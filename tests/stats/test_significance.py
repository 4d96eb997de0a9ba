"""Paired tests, sample sizes and length control: numbers by hand, scipy and scikit-learn as twins, coverage by simulation."""

import itertools

import numpy as np
import pytest

from plaudit import stats


def test_sign_test_by_hand_and_against_scipy():
    assert stats.sign_test(8, 2) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert stats.sign_test(0, 0) == stats.sign_test(5, 5) == 1.0
    scipy = pytest.importorskip("scipy.stats")
    for wins, losses in ((8, 2), (0, 7), (31, 50), (300, 260)):
        assert stats.sign_test(wins, losses) == pytest.approx(scipy.binomtest(wins, wins + losses).pvalue)


def test_mcnemar_counts_only_the_rows_that_differ():
    a, b = [1, 1, 1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1, 0]
    assert stats.mcnemar(a, b) == (5, 1, pytest.approx(2 * 7 / 64))
    with pytest.raises(ValueError, match="permutation_test"):
        stats.mcnemar([0.5], [1])


def test_permutation_test_is_its_definition_and_agrees_with_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.6, 1, 9), rng.normal(0, 1, 9)
    signs = list(itertools.product((1, -1), repeat=9))
    slow = np.mean([abs(np.dot(s, a - b)) >= abs((a - b).sum()) - 1e-9 for s in signs])
    assert stats.permutation_test(a, b) == pytest.approx(slow)
    scipy = pytest.importorskip("scipy.stats")
    c, d = rng.normal(0.2, 1, 60), rng.normal(0, 1, 60)
    theirs = scipy.permutation_test((c, d), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=4000, rng=1)
    assert stats.permutation_test(c, d, resamples=4000) == pytest.approx(theirs.pvalue, abs=0.03)


def test_pairing_finds_what_two_samples_side_by_side_do_not():
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 1, 40)  # prompts differ far more than the models
    better, worse = hard + 0.2 + rng.normal(0, 0.2, 40), hard + rng.normal(0, 0.2, 40)
    assert stats.permutation_test(better, worse) < 0.01
    scipy = pytest.importorskip("scipy.stats")
    assert scipy.ttest_ind(better, worse).pvalue > 0.3


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.6]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("pairs", "rate"), [(50, 0.694), (100, 0.639), (200, 0.599), (400, 0.570), (805, 0.550), (3200, 0.525)]
)
def test_detectable_win_rate_of_the_published_table(pairs, rate):
    assert stats.detectable_win_rate(pairs) == pytest.approx(rate, abs=0.0015)
    assert stats.pairs_for_win_rate(stats.detectable_win_rate(pairs)) == pairs


def test_the_power_that_is_promised_is_there():
    n = stats.pairs_for_win_rate(0.6, ties=0.2)
    rng = np.random.default_rng(0)
    outcomes = rng.choice([1.0, 0.5, 0.0], p=[0.5, 0.2, 0.3], size=(4000, n))
    z = (outcomes.mean(1) - 0.5) / (outcomes.std(1) / np.sqrt(n))
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.02)


def test_decision_says_what_is_missing():
    told = stats.decision([1] * 60 + [0] * 40)
    assert (told.verdict, told.more) == ("a", 0)
    close = stats.decision([1] * 55 + [0] * 45)
    assert close.verdict == "undecided" and close.more == pytest.approx(1.96**2 * 0.25 / 0.05**2 - 100, rel=0.02)
    assert stats.decision([1, 0]).more is None
    assert stats.decision([1, 1]).verdict == "undecided"
    assert stats.decision(1 - np.array([1] * 60 + [0] * 40)).verdict == "b"


def world_of_lengths(rng, n, theta=0.3, phi=1.2):
    """a writes longer than b by one deviation on average, and longer wins."""
    d = rng.normal(30, 30, n)
    chance = 1 / (1 + np.exp(-(theta + phi * np.tanh(d / 30))))
    return (rng.random(n) < chance).astype(float), d


def test_length_control_finds_the_quality_behind_the_length():
    y, d = world_of_lengths(np.random.default_rng(1), 4000, theta=-0.4)
    found = stats.length_controlled(y, d, resamples=200)
    truth = 1 / (1 + np.exp(0.4))
    assert found.raw.low > 0.5 > found.controlled.high
    assert found.controlled.low < truth < found.controlled.high and found.slope.low < 1.2 < found.slope.high
    assert found.misleading
    turned = stats.length_controlled(1 - y, -d, resamples=200)
    assert turned.controlled.mean == pytest.approx(1 - found.controlled.mean, abs=1e-9)
    level = stats.length_controlled([1.0, 0.0, 1.0, 1.0] * 50, [3.0] * 200, ridge=1e-9, resamples=50)
    assert level.controlled.mean == pytest.approx(0.75, abs=1e-6) and level.slope.mean == 0


def test_length_control_against_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    y, d = world_of_lengths(np.random.default_rng(2), 300)
    x = np.stack([np.ones(300), np.tanh(d / d.std())], 1)
    theirs = linear.LogisticRegression(C=1 / 0.1, fit_intercept=False, tol=1e-10).fit(x, y).coef_[0]
    found = stats.length_controlled(y, d, resamples=10)
    assert found.slope.mean == pytest.approx(theirs[1], abs=1e-4)
    assert found.controlled.mean == pytest.approx(1 / (1 + np.exp(-theirs[0])), abs=1e-5)


def coverage(draw, rounds=1200):
    """Share of intervals that hold the truth; its own standard error is 0.6 points at 1200 rounds."""
    return np.mean([low <= truth <= high for truth, (_, low, high) in (draw(seed) for seed in range(rounds))])


def a_win_rate(seed):
    rng = np.random.default_rng(seed)
    return 0.58, stats.bootstrap_mean(rng.choice([1.0, 0.5, 0.0], p=[0.5, 0.16, 0.34], size=120), resamples=400, seed=seed)


def a_difference(seed):
    rng = np.random.default_rng(seed)
    a = rng.gamma(2, 1, 120)
    return 0.5, stats.paired_difference(a + 0.5 + rng.normal(0, 0.4, 120), a, resamples=400, seed=seed)


def a_share(seed):
    return 0.3, stats.wilson(np.random.default_rng(seed).binomial(80, 0.3), 80)


def a_decision(seed):
    rng = np.random.default_rng(seed)
    return 0.58, stats.decision(rng.choice([1.0, 0.5, 0.0], p=[0.5, 0.16, 0.34], size=120)).rate


def a_controlled_rate(seed):
    y, d = world_of_lengths(np.random.default_rng(seed), 150)
    return 1 / (1 + np.exp(-0.3)), stats.length_controlled(y, d, ridge=0.1, resamples=300, seed=seed).controlled


def a_rating(seed):
    rng, theta = np.random.default_rng(seed), np.array([0.6, 0.0, -0.6])
    tables = np.zeros((80, 3, 3))
    for i, j in itertools.combinations(range(3), 2):
        won = rng.random(80) < 1 / (1 + np.exp(theta[j] - theta[i]))
        tables[:, i, j], tables[:, j, i] = won, ~won
    return 0.6, stats.bradley_terry_intervals(tables, resamples=300, seed=seed)[0]


@pytest.mark.slow
@pytest.mark.parametrize("draw", [a_win_rate, a_difference, a_share, a_decision, a_controlled_rate, a_rating])
def test_intervals_hold_the_truth_in_93_to_97_of_100_cases(draw):
    assert 0.93 <= coverage(draw, 600 if draw in (a_rating, a_controlled_rate) else 1200) <= 0.97


def test_ratings_of_many_models_against_evalica():
    evalica = pytest.importorskip("evalica")
    rng, theta = np.random.default_rng(4), np.linspace(1, -1, 6)
    table, left, right, won = np.zeros((6, 6)), [], [], []
    for _ in range(600):
        i, j = rng.choice(6, 2, replace=False)
        first = rng.random() < 1 / (1 + np.exp(theta[j] - theta[i]))
        table[(i, j) if first else (j, i)] += 1
        left.append(f"m{i}")
        right.append(f"m{j}")
        won.append(evalica.Winner.X if first else evalica.Winner.Y)
    theirs = evalica.bradley_terry(left, right, won, tolerance=1e-12, limit=5000).scores
    theirs = np.log([theirs[f"m{i}"] for i in range(6)])
    np.testing.assert_allclose(stats.bradley_terry(table, ridge=1e-9), theirs - theirs.mean(), atol=1e-4)


def test_a_table_on_which_clipped_steps_moved_the_mean_settles():
    table = np.array([[0.0, 48, 67], [32, 0, 74], [13, 6, 0]])
    found = stats.bradley_terry(table)
    chance = 1 / (1 + np.exp(found[None] - found[:, None]))
    expected = ((table + table.T) * chance).sum(1)
    np.testing.assert_allclose(expected, table.sum(1) - 0.01 * found, atol=1e-8)  # won as often as the fit says


def test_places_are_shared_where_intervals_meet():
    assert stats.ranks([stats.Interval(2, 1.5, 2.5), stats.Interval(1, 0.4, 1.6), stats.Interval(0, -0.5, 0.3)]) == [1, 1, 3]


def test_win_rate_at_equal_length_against_a_search_over_a_grid():
    """The same penalised likelihood, maximised by looking at every point of a grid."""
    random = np.random.default_rng(1)
    longer = random.integers(-6, 20, size=60).astype(float)
    won = (random.random(60) < 1 / (1 + np.exp(-(0.3 + 0.1 * longer)))).astype(float)
    x = np.tanh(longer / longer.std())
    a, b = (part[..., None] for part in np.meshgrid(np.arange(-1.5, 1.5, 0.01), np.arange(-2.5, 2.5, 0.01), indexing="ij"))
    z = a + b * x
    likelihood = -np.logaddexp(0, -z) @ won - np.logaddexp(0, z) @ (1 - won) - 0.05 * (a * a + b * b)[..., 0]
    best = a[np.unravel_index(likelihood.argmax(), likelihood.shape)][0]
    found = stats.length_controlled(won, longer, resamples=10)
    assert found.controlled.mean == pytest.approx(1 / (1 + np.exp(-best)), abs=0.003)
    assert found.length.mean == pytest.approx(won.mean() - found.controlled.mean)
