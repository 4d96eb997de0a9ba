"""Mixtures: shares as asked for, every row of a source before one again, and the same whatever was drawn before."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.data.mixture import Mixture, shares
from plaudit.data.parts import Part, parts
from plaudit.schema import UserError
from plaudit.training.feed import Feed


def test_shares_by_hand():
    assert shares([3, 1], 8) == [6, 2] and shares([1, 1, 1], 8) == [3, 3, 2]
    assert shares([1000, 1], 10) == [9, 1]  # every source comes up


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=6), st.integers(6, 300))
@settings(max_examples=50, deadline=None)
def test_shares_add_up(weights, total):
    found = shares(weights, total)
    assert sum(found) == total and min(found) >= 1
    wanted = [w / sum(weights) * total for w in weights]
    assert all(abs(f - w) < len(weights) + 1 for f, w in zip(found, wanted, strict=True))


def test_an_epoch_draws_by_weight_and_goes_on_where_it_stopped():
    small, large = list(range(4)), list(range(4, 20))
    mixture = Mixture([small, large], [1.0, 1.0], seed=3)
    assert mixture.counts == [10, 10]
    first, second = mixture.epoch(0).tolist(), mixture.epoch(1).tolist()
    drawn = Counter(first + second)
    assert sum(drawn[i] for i in small) == 20 and [drawn[i] for i in small] == [5] * 4
    assert len(set(first) & set(large)) == 10  # no row of the large one twice before all came up
    assert set(large) <= set(first + second) and sum(drawn[i] for i in large) == 20
    assert sorted(first, key=lambda i: i in large) != first  # the sources are mixed
    alone = Mixture([range(50)], [1.0], seed=3)
    passes = [alone._drawn(0, 50 * turn, 50).tolist() for turn in range(2)]
    assert passes[0] != passes[1] and sorted(passes[0]) == sorted(passes[1]) == list(range(50))  # reshuffled


def test_a_feed_of_a_mixture_is_a_function_of_seed_and_step():
    def feed(seed):
        return Feed(20, 6, seed, Mixture([range(4), range(4, 20)], [1, 3], seed))

    forward = feed(1)
    seen = [forward.at(step) for step in range(12)]
    fresh = feed(1)
    assert [fresh.at(step) for step in reversed(range(12))] == seen[::-1]
    assert seen != [feed(2).at(step) for step in range(12)]
    share = Counter(i < 4 for step in seen[:10] for i in step)
    assert share[True] == 15  # a quarter of three whole epochs


def test_what_a_user_names_as_data():
    assert parts("a.jsonl") == (Part("a.jsonl"),)
    assert parts(["a", {"path": "b", "split": "train"}]) == (Part("a"), Part("b", split="train"))
    assert parts({"a": 2, "b": 1}) == (Part("a", 2.0), Part("b", 1.0))
    assert parts({"path": "a", "columns": {"prompt": "q"}}, columns={"completion": "c"}) == (
        Part("a", columns={"completion": "c", "prompt": "q"}),
    )
    trl = {"path": "folder", "data_files": "x/*.json", "split": "train", "columns": ["prompt"], "name": None}
    assert parts([trl]) == (Part("folder/x/*.json", split="train"),)
    assert Part("folder", split="train", dataset="d").name == "folder:d:train"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "names no data"),
        ([3], "must be a path or a mapping with path, not 3"),
        ([{"paht": "a"}], "the unknown key 'paht'; its keys are path, weight"),
        ([{"weight": 1}], "has no path"),
        ([{"path": "a", "weight": 0}], "a, weight: must be a number above 0, not 0"),
        ([{"path": "a", "weight": True}], "weight: must be a number above 0"),
        ([{"path": "a", "weight": 1}, "b"], "b: has no weight, but other parts"),
        ([{"path": "a", "data_files": ["x", "y"]}], "give each file as a part of its own"),
    ],
)
def test_parts_that_cannot_be(given, message):
    with pytest.raises(UserError, match=message):
        parts(given)
