import pytest

from plaudit.training.feed import Feed


def test_every_row_is_seen_once_an_epoch_and_in_another_order_in_the_next():
    feed = Feed(12, 4, seed=3)
    first = [row for step in range(3) for row in feed.at(step)]
    second = [row for step in range(3, 6) for row in feed.at(step)]
    assert sorted(first) == sorted(second) == list(range(12)) and first != second


def test_a_portion_may_reach_over_the_edge_and_nothing_is_lost():
    feed = Feed(5, 3, seed=0)
    seen = [row for step in range(5) for row in feed.at(step)]  # 15 rows are 3 epochs
    assert all(sorted(seen[i : i + 5]) == list(range(5)) for i in (0, 5, 10))


def test_a_step_is_a_pure_function_of_seed_and_step():
    feed, other = Feed(20, 6, seed=1), Feed(20, 6, seed=1)
    walked = [feed.at(step) for step in range(10)]
    assert [other.at(step) for step in (9, 0, 4)] == [walked[9], walked[0], walked[4]]
    assert Feed(20, 6, seed=2).at(0) != walked[0]


def test_steps_of_so_many_epochs_are_rounded_up():
    feed = Feed(10, 4, seed=0)
    assert [feed.steps(epochs) for epochs in (0.1, 0.4, 1, 2, 3)] == [1, 1, 3, 5, 8]
    assert Feed(30, 3, seed=0).steps(0.1) == 1  # 30 * 0.1 is a hair above 3 in floats


def test_a_portion_is_never_more_than_there_is():
    feed = Feed(3, 8, seed=0)
    assert feed.portion == 3 and sorted(feed.at(0)) == [0, 1, 2] and feed.steps(2) == 2


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="at least one row"):
        Feed(0, 4, seed=0)
