"""Numbers worked by hand or published, slow twins, and invariances."""

from fractions import Fraction
from itertools import combinations, permutations, product
from math import isnan, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit import stats

scores = st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=30)


def test_wilson_by_hand():
    # 8 of 10, z = 2: centre (.8 + .2) / 1.4 = 5/7, half width 2 / 1.4 * sqrt(.016 + .01) = .230350
    mean, low, high = stats.wilson(8, 10, z=2)
    half = 2 / 1.4 * sqrt(0.026)
    assert (mean, low, high) == pytest.approx((0.8, 5 / 7 - half, 5 / 7 + half))
    assert stats.wilson(0, 4, z=2).high == pytest.approx(0.5)  # z^2 / (n + z^2)
    assert isnan(stats.wilson(0, 0).mean) and stats.wilson(0, 0)[1:] == (0, 1)
    with pytest.raises(ValueError, match="successes"):
        stats.wilson(5, 4)


def test_win_rate_counts_ties_as_half():
    assert stats.win_rate([3, 1, 2, 0], [1, 1, 3, -1]) == (1 + 0.5 + 0 + 1) / 4
    assert stats.win_rate([1.0, 1.0], [1.05, 2.0], tolerance=0.1) == 0.25


@settings(deadline=None)
@given(scores)
def test_swapping_sides_mirrors_the_win_rate(rows):
    a, b = zip(*rows, strict=True)
    forth, back = stats.paired_bootstrap(a, b, resamples=50, seed=3), stats.paired_bootstrap(b, a, resamples=50, seed=3)
    assert (forth.mean, forth.low, forth.high) == pytest.approx((1 - back.mean, 1 - back.high, 1 - back.low))
    difference, mirrored = stats.paired_difference(a, b, resamples=50), stats.paired_difference(b, a, resamples=50)
    assert (difference.mean, difference.low) == pytest.approx((-mirrored.mean, -mirrored.high))


def test_bootstrap_against_all_resamples():
    # Four prompts: the 256 resamples can be counted, and their quantiles are those that the random ones approach.
    values = [0.0, 0.5, 1.0, 1.0]
    every = [float(np.mean(draw)) for draw in product(values, repeat=4)]
    mean, low, high = stats.bootstrap_mean(values, resamples=40_000, seed=1, level=0.9)
    assert mean == 0.625
    assert (low, high) == pytest.approx(np.quantile(every, [0.05, 0.95]), abs=1e-9)


def test_bootstrap_width_matches_theory_and_keeps_the_samples_of_a_prompt_together():
    values = np.random.default_rng(0).normal(size=400)
    one = stats.bootstrap_mean(values, seed=5)
    assert one.high - one.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    assert stats.bootstrap_mean(np.stack([values, values], 1), seed=5) == one  # a copy of each sample is no new evidence
    assert stats.bootstrap_mean(values, seed=5) == one != stats.bootstrap_mean(values, seed=6)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="both sides"):
        stats.win_rate([1, 2], [1])
    with pytest.raises(ValueError, match="at least one"):
        stats.win_rate([], [])
    with pytest.raises(ValueError, match="finite"):
        stats.paired_difference([1.0, float("nan")], [1.0, 2.0])


@pytest.mark.parametrize(
    ("agreement", "bound"), [(0.6, 0.724), (0.726, 0.836), (0.8, 0.887), (1.0, 1.0), (0.5, 0.5), (0.4, 0.5)]
)
def test_ceiling(agreement, bound):
    assert stats.ceiling(agreement) == pytest.approx(bound, abs=5e-4)


@settings(deadline=None)
@given(st.floats(0.5, 1))
def test_ceiling_inverts_the_agreement_of_two_labels(p):
    assert stats.ceiling(p * p + (1 - p) ** 2) == pytest.approx(p, abs=1e-6)
    assert stats.ceiling_from_flip_rate(1 - p) == pytest.approx(p) == stats.ceiling_from_flip_rate(p)


def test_accuracy_ceiling_by_hand():
    assert stats.accuracy_ceiling([0.9, 0.2, 0.5]) == pytest.approx((0.9 + 0.8 + 0.5) / 3)


def test_calibration_error_by_hand():
    # Two bins: {.1, .3} with outcomes {0, 1} and {.6, .8} with {1, 1}: |.5 - .2| / 2 + |1 - .7| / 2
    assert stats.expected_calibration_error([0.8, 0.1, 0.6, 0.3], [1, 0, 1, 1], bins=2) == pytest.approx(0.3)
    # From both sides p = .8, y = 1 is also p = .2, y = 0: both are .2 away.
    assert stats.expected_calibration_error([0.8, 0.8], [1, 1], bins=2, symmetric=True) == pytest.approx(0.2)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.integers(0, 1)), min_size=1, max_size=12), st.randoms())
def test_calibration_error_does_not_depend_on_the_order_of_rows(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert stats.expected_calibration_error(*zip(*rows, strict=True), bins=4) == pytest.approx(
        stats.expected_calibration_error(*zip(*shuffled, strict=True), bins=4)
    )


def test_cohen_kappa_by_hand():
    # Cohen's classic table: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: A = .7, A_e = .5
    a, b = ["yes"] * 25 + ["no"] * 25, ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert stats.cohen_kappa(a, b) == pytest.approx(0.4)
    assert isnan(stats.cohen_kappa(["x"], ["x"]))


def test_krippendorff_alpha_of_the_published_example():
    # Three coders, 15 units, the example of Krippendorff (2011) and of Wikipedia: nominal alpha .691
    coders = ["*****3412113" + "3*3", "1*213343" + "*" * 7, "**21344*21133*4"]
    units = [[value for value in unit if value != "*"] for unit in zip(*coders, strict=True)]
    assert stats.krippendorff_alpha(units) == pytest.approx(0.691, abs=5e-4)
    assert isnan(stats.krippendorff_alpha([["a"], ["a", "a"]]))


def alpha_twin(units):
    """D_o and D_e by going through every pair of ratings, in fractions."""
    units = [unit for unit in units if len(unit) > 1]
    everything = [value for unit in units for value in unit]
    n = len(everything)
    observed = sum(Fraction(sum(x != y for x, y in permutations(unit, 2)), len(unit) - 1) for unit in units) / n
    return 1 - observed / Fraction(sum(x != y for x, y in permutations(everything, 2)), n * (n - 1))


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from("abt"), max_size=4), min_size=1, max_size=6))
def test_krippendorff_alpha_equals_its_twin(units):
    if len({value for unit in units if len(unit) > 1 for value in unit}) > 1:
        assert stats.krippendorff_alpha(units) == pytest.approx(float(alpha_twin(units)))


def test_spearman_by_hand():
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: 1 - 6 * 4 / (5 * 24) = .8
    assert stats.spearman([1, 10, 11, 50, 99], [0.2, 0.1, 0.4, 0.3, 0.5]) == pytest.approx(0.8)
    assert stats.spearman([1, 2, 2], [1, 2, 3]) == pytest.approx(sqrt(3) / 2)  # ranks 1, 2.5, 2.5
    assert isnan(stats.spearman([1, 1], [1, 2]))


@settings(deadline=None)
@given(scores)
def test_spearman_sees_only_the_order(rows):
    a, b = zip(*rows, strict=True)
    assert stats.spearman(np.exp(a), b) == pytest.approx(stats.spearman(a, b), nan_ok=True)
    assert stats.spearman(b, [-x for x in a]) == pytest.approx(-stats.spearman(a, b), nan_ok=True)


def test_bradley_terry_of_two_and_three_players():
    assert stats.bradley_terry([[0, 3], [1, 0]], ridge=0) == pytest.approx([log(3) / 2, -log(3) / 2])
    # 3:1, 3:1 and 9:1 fit odds of 9, 3 and 1 exactly.
    assert stats.bradley_terry([[0, 3, 9], [1, 0, 3], [1, 1, 0]], ridge=0) == pytest.approx([log(3), 0, -log(3)], abs=1e-9)
    assert stats.elo([0.0, log(10)]) == pytest.approx([1000, 1400])


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 9), min_size=6, max_size=6))
def test_bradley_terry_equals_the_mm_algorithm(counts):
    """Hunter (2004): p_i = wins_i / sum_j n_ij / (p_i + p_j), iterated."""
    wins = np.zeros((3, 3))
    wins[~np.eye(3, dtype=bool)] = counts
    p, games = np.ones(3), wins + wins.T
    for _ in range(1000):
        p = wins.sum(1) / (games / (p[:, None] + p)).sum(1)
        p /= np.prod(p) ** (1 / 3)
    assert stats.bradley_terry(wins, ridge=0) == pytest.approx(np.log(p), abs=1e-6)


def test_a_player_without_defeat_needs_the_ridge():
    table = [[0, 5], [0, 0]]
    theta = stats.bradley_terry(table)
    # The gradient of the penalised likelihood is zero: 5 (1 - sigmoid(2 theta)) = .01 theta
    assert 5 / (1 + np.exp(2 * theta[0])) == pytest.approx(0.01 * theta[0])
    with pytest.raises(ValueError, match="ridge"):
        stats.bradley_terry(table, ridge=0)
    with pytest.raises(ValueError, match="players"):
        stats.bradley_terry([1, 2])


def test_bradley_terry_intervals_hold_the_fit_and_shrink_with_data():
    rng = np.random.default_rng(0)
    tables = np.zeros((400, 2, 2))
    beats = rng.random(400) < 0.75
    tables[beats, 0, 1] = 1
    tables[~beats, 1, 0] = 1
    few, many = (stats.bradley_terry_intervals(t, resamples=300)[0] for t in (tables[:50], tables))
    assert many.low < log(3) / 2 < many.high and many.low < many.mean < many.high
    assert many.high - many.low < 0.6 * (few.high - few.low)


def test_dawid_skene_of_one_vote_is_the_prior_mean():
    # One vote: q = a and a = (20 + q) / 27.5, whose only solution is a = 20 / 26.5
    posterior, accuracy = stats.one_coin_dawid_skene([(0, 0, 1.0)])
    assert posterior[0] == pytest.approx(20 / 26.5) and accuracy[0] == pytest.approx(20 / 26.5)
    # Two against one, a prior so strong that it holds: logit q = logit a
    posterior, _ = stats.one_coin_dawid_skene([(0, 0, 1), (0, 1, 1), (0, 2, 0)], prior=(8e9, 2e9))
    assert posterior[0] == pytest.approx(0.8)


def dawid_skene_twin(votes, rounds=200):
    """The same EM with loops and dictionaries."""
    accuracy = {w: 20 / 26.5 for _, w, _ in votes}
    for _ in range(rounds):
        q = {}
        for item in {i for i, _, _ in votes}:
            odds = np.prod([(accuracy[w] / (1 - accuracy[w])) ** (2 * v - 1) for i, w, v in votes if i == item])
            q[item] = odds / (1 + odds)
        for w in accuracy:
            mine = [(q[i], v) for i, who, v in votes if who == w and v != 0.5]
            right = sum(p if v == 1 else 1 - p for p, v in mine)
            accuracy[w] = min(0.98, max(0.02, (20 + right) / (26.5 + len(mine))))
    return q, accuracy


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0])), min_size=1, max_size=20))
def test_dawid_skene_equals_its_twin_and_mirrors(votes):
    found = stats.one_coin_dawid_skene(votes)
    q, accuracy = dawid_skene_twin(votes)
    assert all(found.posterior[i] == pytest.approx(p, abs=1e-6) for i, p in q.items())
    assert all(found.accuracy[w] == pytest.approx(a, abs=1e-6) for w, a in accuracy.items())
    mirrored = stats.one_coin_dawid_skene([(i, w, 1 - v) for i, w, v in votes])
    assert mirrored.posterior == pytest.approx(1 - found.posterior)


def test_dawid_skene_beats_the_majority_on_a_mixed_crowd():
    rng = np.random.default_rng(0)
    truth, skill = rng.integers(0, 2, 1500), np.linspace(0.55, 0.95, 8)
    votes = [
        (i, int(w), float(truth[i] if rng.random() < skill[w] else 1 - truth[i]))
        for i in range(1500)
        for w in rng.choice(8, 3, replace=False)
    ]
    posterior, accuracy = stats.one_coin_dawid_skene(votes)
    share = np.bincount([i for i, _, _ in votes], [v for _, _, v in votes]) / 3
    assert ((posterior > 0.5) == truth).mean() > ((share > 0.5) == truth).mean() + 0.02
    assert stats.spearman(accuracy, skill) > 0.9


def test_agreement_of_labels_gives_the_skill_of_who_made_them():
    """Two labels of accuracy .8 agree with .68, and the ceiling finds the .8 again."""
    rng = np.random.default_rng(1)
    right = rng.random((20_000, 2)) < 0.8
    agreement = float(np.mean([x == y for row in right for x, y in combinations(row, 2)]))
    assert stats.ceiling(agreement) == pytest.approx(0.8, abs=0.01)
