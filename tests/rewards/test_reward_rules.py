import pytest

from plaudit.rewards.rules import (
    exact_match,
    length_penalty,
    regex_match,
    repetition_penalty,
    soft_overlong_punishment,
    think_format,
)
from plaudit.schema import UserError


def chat(text):
    return [{"role": "assistant", "content": text}]


def test_exact_match():
    texts = ["Paris", " paris.\n", "Paris, France", chat("PARIS"), "x", "4"]
    assert exact_match(texts, ["Paris", "Paris", "Paris", "paris", None, 4]) == [1.0, 1.0, 0.0, 1.0, None, 1.0]
    assert exact_match(["b", "c"], [["a", "b"], ["a", "b"]]) == [1.0, 0.0]


def test_regex_match():
    texts = ["order 1182 is late", "your order", chat("#12")]
    assert regex_match(texts, pattern=r"\d+") == [1.0, 0.0, 1.0]
    assert regex_match(["ab\ncd", "xab\ncd"], pattern="ab.cd", full=True) == [1.0, 0.0]
    with pytest.raises(UserError, match="needs its pattern"):
        regex_match(texts)
    with pytest.raises(UserError, match="not a regular expression"):
        regex_match(texts, pattern="(")


def test_think_format():
    good = ["<think>a\nb</think>c", "<think></think>\nanswer", chat(" <think>x</think>")]
    bad = ["c", "<think>a", "a<think>b</think>c", "<think>a<think>b</think>c", "<think>a</think>b</think>"]
    assert think_format(good) == [1.0] * 3 and think_format(bad) == [0.0] * 5


def test_length_penalty_is_a_soft_band():
    ids = [[0] * n for n in (0, 6, 8, 10, 20, 22, 24, 100)]
    assert length_penalty(ids, lower=10, upper=20, margin=4) == [-1.0, -1.0, -0.5, 0.0, 0.0, -0.5, -1.0, -1.0]


def test_soft_overlong_punishment_is_dapos():
    """Yu et al. 2025, eq. 13: 0 up to L_max - L_cache; (L_max - L_cache - |y|) / L_cache up to L_max; then -1."""
    ids = [[0] * n for n in (0, 30, 31, 35, 39, 40, 41)]
    expected = [0.0, 0.0, -0.1, -0.5, -0.9, -1.0, -1.0]
    assert soft_overlong_punishment(ids, max_completion_len=40, soft_punish_cache=10) == pytest.approx(expected)
    assert soft_overlong_punishment([[0]], max_completion_len=4, soft_punish_cache=4) == [-0.25]


@pytest.mark.parametrize("wrong", [{}, {"max_completion_len": 9}, {"max_completion_len": 9, "soft_punish_cache": 10}])
def test_soft_overlong_punishment_refuses_a_cache_that_is_none(wrong):
    with pytest.raises(UserError, match="soft_punish_cache <= max_completion_len"):
        soft_overlong_punishment([[1]], **wrong)


@pytest.mark.parametrize("wrong", [{"lower": 5, "upper": 4}, {"lower": -1}, {"margin": 0}])
def test_length_penalty_refuses_a_band_that_is_none(wrong):
    with pytest.raises(UserError, match="length_penalty needs"):
        length_penalty([[1]], **wrong)


def test_repetition_penalty():
    # "a b a b a b": bigrams ab ba ab ba ab, 2 of 5 different.
    assert repetition_penalty(["a b a b a b", "a b c", "a", ""], ngram_size=2) == pytest.approx([-0.6, 0.0, 0.0, 0.0])
    assert repetition_penalty(["A, b. a! B? a b"], ngram_size=2, max_penalty=2.0) == pytest.approx([-1.2])
    # Chinese signs are words: bigrams of 你好你好 are 你好 好你 你好.
    assert repetition_penalty(["你好你好"], ngram_size=2) == pytest.approx([-1 / 3])
    with pytest.raises(UserError, match="ngram_size"):
        repetition_penalty(["a"], ngram_size=0)
