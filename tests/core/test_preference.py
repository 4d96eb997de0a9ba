import math

import pytest
import torch

from plaudit.core.preference import bradley_terry, log1mexp, log_odds_ratio, opponent, ordered_pairs, plackett_luce

F64 = torch.float64


def t(*values):
    return torch.tensor(values, dtype=F64)


def i(*values):
    return torch.tensor(values)


def test_the_opponent_is_the_other_row_of_the_group_wherever_it_stands():
    assert opponent(i(0, 0, 1, 1), i(0, 1, 0, 1)).tolist() == [1, 0, 3, 2]
    assert opponent(i(7, 3, 7, 3), i(1, 0, 0, 1)).tolist() == [2, 3, 0, 1]
    assert opponent(i(), i()).tolist() == []


@pytest.mark.parametrize(
    ("group", "place"),
    [
        ((0, 0, 1), (0, 1, 0)),  # one is alone
        ((0, 0), (0, 0)),  # two winners
        ((0, 0, 0, 0), (0, 1, 0, 1)),  # two pairs in one group are four rows of it
        ((0, 0, 0), (0, 1, 2)),  # a ranking of three
        ((0, 0, 0, 1), (0, 1, 2, 1)),  # place 2 must not pass for the next group's place 0
        ((0, 1), (0, 1)),
        ((0, 0), (1, 2)),
    ],
)
def test_what_is_not_a_pair_is_refused(group, place):
    with pytest.raises(ValueError, match="every group needs exactly two rows"):
        opponent(i(*group), i(*place))


def test_bradley_terry_by_hand():
    """Scores log 3 and 0: the winner wins with 3/4; the loser's row says log(1/4)."""
    loss = bradley_terry(t(math.log(3), 0), i(1, 0), t(0, 0), t(1, 1))
    assert loss.tolist() == pytest.approx([-math.log(0.75), -math.log(0.25)])


def test_a_soft_label_mixes_both_orders():
    loss = bradley_terry(t(math.log(3), 0), i(1, 0), t(0, 0), t(0.8, 0.8))
    assert float(loss[0]) == pytest.approx(-0.8 * math.log(0.75) - 0.2 * math.log(0.25))


def test_a_soft_label_is_least_where_the_model_is_as_sure_as_the_annotators():
    score = t(math.log(4), 0).requires_grad_()
    bradley_terry(score, i(1, 0), t(0, 0), t(0.8, 0.8))[0].backward()
    assert score.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-15)


def test_a_margin_is_taken_off_the_gap():
    loss = bradley_terry(t(2.0, 0.5), i(1, 0), t(1.0, 1.0), t(1, 1))
    assert float(loss[0]) == pytest.approx(math.log(1 + math.exp(-0.5)))


def test_gaps_of_any_size_stay_finite():
    loss = bradley_terry(t(-2000.0, 2000.0), i(1, 0), t(0, 0), t(1, 1))
    assert loss.tolist() == [4000.0, 0.0]


def test_equal_scores_cost_log_2_and_push_apart_by_a_half():
    score = t(0.3, 0.3).requires_grad_()
    loss = bradley_terry(score, i(1, 0), t(0, 0), t(1, 1))[0]
    loss.backward()
    assert float(loss.detach()) == pytest.approx(math.log(2)) and score.grad.tolist() == pytest.approx([-0.5, 0.5])


def test_plackett_luce_is_the_likelihood_of_the_order():
    """Scores log 3, log 2, log 1 in this order: P = 3/6 * 2/3 * 1. A second group of two: Bradley-Terry."""
    score = t(math.log(2), math.log(3), 0.0, 1.0, 0.0)
    terms = plackett_luce(score, i(0, 0, 0, 1, 1), i(1, 0, 2, 0, 1))
    assert terms.tolist() == pytest.approx([math.log(3 / 2), math.log(2), 0.0, math.log(1 + math.exp(-1)), 0.0])


def test_plackett_luce_of_every_order_adds_up_to_one():
    from itertools import permutations

    score = t(0.3, -1.2, 2.0, 0.7)
    total = sum(float((-plackett_luce(score, i(0, 0, 0, 0), i(*order)).sum()).exp()) for order in permutations(range(4)))
    assert total == pytest.approx(1.0, rel=1e-12)


def test_log1mexp_is_exact_at_both_ends_and_its_gradient_is_finite():
    x = t(-1e-12, -0.5, -1.0, -40.0).requires_grad_()
    assert log1mexp(x).tolist() == pytest.approx(
        [math.log(1e-12), math.log(1 - math.exp(-0.5)), math.log(1 - math.exp(-1)), -math.exp(-40)]
    )
    log1mexp(x).sum().backward()
    assert x.grad.isfinite().all()


def test_the_log_odds_ratio_by_hand():
    """Probabilities .8 and .5: odds 4 and 1."""
    assert float(log_odds_ratio(t(math.log(0.8)), t(math.log(0.5)))) == pytest.approx(math.log(4))


def test_the_ordered_pairs_of_rankings_of_three_and_two():
    better, worse = ordered_pairs(i(4, 4, 9, 4, 9), i(1, 0, 1, 2, 0))
    assert sorted(zip(better.tolist(), worse.tolist(), strict=True)) == [(0, 3), (1, 0), (1, 3), (4, 2)]
    with pytest.raises(ValueError, match="two rows or more"):
        ordered_pairs(i(0, 0, 1), i(0, 1, 0))
