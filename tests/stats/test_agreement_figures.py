"""Agreement: numbers worked by hand or published, independent implementations, and the coverage of the intervals."""

from fractions import Fraction
from itertools import permutations
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit import stats

RELIABILITY = [
    # Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", part C: four observers, twelve units, values 1 to 5.
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = [[row[i] for row in RELIABILITY if row[i] is not None] for i in range(12)]


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level, published):
    assert stats.krippendorff_alpha(UNITS, level) == pytest.approx(published, abs=5e-4)


def slow_alpha(units, level):
    """From the definition, with fractions: every ordered pair of ratings of a unit, against every pair of all ratings."""
    rated = [unit for unit in units if len(unit) > 1]
    ratings = sorted(value for unit in rated for value in unit)

    def far(a, b):
        if level == "nominal":
            return Fraction(a != b)
        if level == "interval":
            return Fraction((a - b) ** 2)
        low, high = min(a, b), max(a, b)
        between = sum(low <= value <= high for value in ratings)
        return (between - Fraction(ratings.count(low) + ratings.count(high), 2)) ** 2 if a != b else Fraction(0)

    observed = sum(sum(far(a, b) for a, b in permutations(unit, 2)) / (len(unit) - 1) for unit in rated)
    expected = sum(far(a, b) for a, b in permutations(ratings, 2)) / (len(ratings) - 1)
    return float(1 - observed / expected) if expected else float("nan")


some_units = st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(some_units, st.sampled_from(["nominal", "ordinal", "interval"]))
def test_alpha_is_its_definition(units, level):
    assert stats.krippendorff_alpha(units, level) == pytest.approx(slow_alpha(units, level), nan_ok=True)
    interval = stats.alpha_interval(units, level, resamples=20)
    assert interval.mean == pytest.approx(slow_alpha(units, level), nan_ok=True)


@pytest.mark.parametrize("level", ["nominal", "ordinal", "interval"])
def test_alpha_against_evalica(level):
    evalica = pytest.importorskip("evalica")
    import pandas

    rng = np.random.default_rng(1)
    table = rng.integers(1, 6, size=(4, 40)).astype(float)
    table[1:, :20] = table[0, :20]
    table[rng.random(table.shape) < 0.2] = np.nan
    theirs = evalica.alpha(pandas.DataFrame(table), distance=level).alpha
    units = [[value for value in column if not np.isnan(value)] for column in table.T]
    assert stats.krippendorff_alpha(units, level) == pytest.approx(theirs, abs=1e-12)


def test_fleiss_of_the_published_example():
    # Fleiss (1971), fourteen raters, ten subjects, five categories, as it is given everywhere: kappa = .210
    counts = [
        (0, 0, 0, 0, 14),
        (0, 2, 6, 4, 2),
        (0, 0, 3, 5, 6),
        (0, 3, 9, 2, 0),
        (2, 2, 8, 1, 1),
        (7, 7, 0, 0, 0),
        (3, 2, 6, 3, 0),
        (2, 5, 3, 2, 2),
        (6, 5, 2, 1, 0),
        (0, 2, 2, 3, 7),
    ]
    units = [[value for value, count in enumerate(row) for _ in range(count)] for row in counts]
    assert stats.fleiss_kappa(units) == pytest.approx(0.210, abs=5e-4)


def test_cohen_by_hand_and_with_weights():
    # Of 10 items 7 agree; a says yes 6 times, b 5 times: A_e = .6 * .5 + .4 * .5 = .5, kappa = .4
    a, b = [1] * 6 + [0] * 4, [1] * 4 + [0] * 2 + [1] + [0] * 3
    assert stats.cohen_kappa(a, b) == pytest.approx(0.4)
    # Stars 1 1 2 3 against 1 2 2 3: D_o = 1/4; D_e over 16 pairs: (0+1+1+4) * 2 + (1+0+0+1) + (4+1+1+0) = 20 -> 20/16
    assert stats.cohen_kappa([1, 1, 2, 3], [1, 2, 2, 3], quadratic=True) == pytest.approx(1 - (1 / 4) / (20 / 16))
    assert stats.cohen_kappa(a, b, quadratic=True) == pytest.approx(0.4)  # of two values the weights do not matter
    assert isnan(stats.cohen_kappa([1, 1], [1, 1]))


def test_ac1_stands_where_kappa_falls():
    # 100 items, two raters: 90 both safe, 10 in dispute. P = .9; p = (.95, .05): kappa = (.9 - .905) / .095 < 0
    units = [["safe", "safe"]] * 90 + [["safe", "unsafe"]] * 10
    assert stats.fleiss_kappa(units) == pytest.approx((0.9 - 0.905) / 0.095)
    assert stats.gwet_ac1(units) == pytest.approx((0.9 - 0.095) / (1 - 0.095))  # P_e = 2 * .95 * .05


def test_figures_by_hand():
    found = stats.agreement([["a", "a", "b"], ["a", "a"], ["b"], ["b", "b"]], resamples=50)
    assert (found.items, found.ratings, found.unanimity) == (3, 7, pytest.approx(2 / 3))
    assert found.percent.mean == pytest.approx((1 + 1 + 1) / (3 + 1 + 1))
    assert found.percent.low <= found.percent.mean <= found.percent.high
    nothing = stats.agreement([["a"], []])
    assert nothing.items == 0 and isnan(nothing.alpha.mean) and isnan(nothing.percent.mean)
    with pytest.raises(ValueError, match="ordinal ratings must be numbers"):
        stats.krippendorff_alpha([["a", "b"]], "ordinal")


def test_binary_alpha_is_what_the_accuracy_says():
    """Balanced answers, everybody right with p: A = p^2 + (1 - p)^2, alpha = 2 A - 1."""
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=4000)
    units = np.where(rng.random((4000, 3)) < 0.8, truth[:, None], 1 - truth[:, None]).tolist()
    found = stats.agreement(units, resamples=200)
    assert found.percent.mean == pytest.approx(0.68, abs=0.015) and found.alpha.mean == pytest.approx(0.36, abs=0.03)


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say():
    """The true alpha (2 A - 1 = .36) lies in the 95 % interval in about 95 of 100 samples of 100 items."""
    rng = np.random.default_rng(3)
    held = widths = 0.0
    for seed in range(150):
        truth = rng.integers(2, size=100)
        units = np.where(rng.random((100, 3)) < 0.8, truth[:, None], 1 - truth[:, None]).tolist()
        found = stats.agreement(units, resamples=300, seed=seed)
        held += found.alpha.low <= 0.36 <= found.alpha.high
        widths += (found.alpha.high - found.alpha.low) / 2
    assert 0.89 <= held / 150 <= 0.99
    assert widths / 150 == pytest.approx(0.13, abs=0.01)  # what docs/quality.md says of 100 items
