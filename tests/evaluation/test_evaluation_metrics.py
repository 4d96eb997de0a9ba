"""Figures over completions, worked by hand."""

import math

import pytest

from plaudit.evaluation.metrics import describe, distinct_n, lengths, ngrams, repetition_share, truncation_share
from plaudit.schema import Completion


def answer(text: str, n_tokens: int, finish_reason: str = "stop") -> Completion:
    ids = tuple(range(n_tokens))
    return Completion("p", text, (1,), ids, (0.0,) * n_tokens, finish_reason)


def test_distinct_counts_over_all_answers_together():
    # Bigrams: (a b) (b a) (a b) | (a b) (b c): five, of which three differ. Unigrams: a b a b | a b c: three of seven.
    answers = [list("abab"), list("abc")]
    assert distinct_n(answers, 2) == pytest.approx(3 / 5)
    assert distinct_n(answers, 1) == pytest.approx(3 / 7)


def test_bigrams_do_not_cross_from_one_answer_to_the_next():
    assert distinct_n([["a"], ["b"], ["a", "b"]], 2) == 1.0


def test_repetition_of_a_loop():
    # x y x y x y x: 4-grams xyxy yxyx xyxy yxyx: four, two of them new.
    assert repetition_share(list("xyxyxyx")) == pytest.approx(0.5)
    assert repetition_share(list("abcdefg")) == 0.0
    assert repetition_share(list("aaa")) == 0.0, "too short for a 4-gram"


def test_ngrams_at_the_edges():
    assert ngrams("abc", 3) == [("a", "b", "c")]
    assert ngrams("ab", 3) == []
    with pytest.raises(ValueError, match="at least 1"):
        ngrams("ab", 0)


def test_lengths_are_sampled_tokens_with_the_end_token():
    size = lengths([answer("", n) for n in (1, 2, 3, 4, 10)])
    assert (size.mean, size.median, size.shortest, size.longest) == (4.0, 3.0, 1.0, 10.0)
    # Linear quantiles of five values: position 0.4 is 1.4; position 3.6 is 4 + 0.6 * 6.
    assert (size.low, size.high) == pytest.approx((1.4, 7.6))


def test_truncation_is_by_finish_reason_not_by_length():
    same_length = [answer("a", 5), answer("b", 5, "length"), answer("c", 5), answer("d", 5, "length")]
    assert truncation_share(same_length) == 0.5


def test_describe_joins_them():
    figures = describe([answer("x y x y x y x", 8, "length"), answer("one two", 3)])
    assert figures["repetition_4"] == pytest.approx(0.25)
    assert figures["distinct_1"] == pytest.approx(4 / 9)
    assert (figures["answers"], figures["truncated"], figures["length_mean"]) == (2.0, 0.5, 5.5)


def test_no_answers_give_no_figures_rather_than_zeros():
    figures = describe([])
    assert figures.pop("answers") == 0
    assert all(math.isnan(value) for value in figures.values())
