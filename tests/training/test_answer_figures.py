"""Figures of answers, worked by hand."""

from __future__ import annotations

import pytest

from plaudit.schema import Completion, Scored
from plaudit.training.answer_figures import independent_moments, pays_length, variety


def answer(reward, tokens, text="x"):
    return Scored(Completion("p", text, (1,), tuple(tokens), (0.0,) * len(tokens), "stop"), reward, {})


def test_variety_by_hand():
    """2-grams (1,2) (2,3) and (1,2) (2,1) (1,2): 3 different of 5. No 4-gram comes twice. One of two answers is blank."""
    found = variety([answer(0, (1, 2, 3)), answer(0, (1, 2, 1, 2), " \n")])
    assert found == {"mean_length": 3.5, "repetition": 0.0, "empty_ratio": 0.5, "distinct_2": pytest.approx(3 / 5)}
    assert variety([answer(0, (1,) * 6)])["repetition"] == pytest.approx(2 / 3), "three 4-grams, one different"
    assert "distinct_2" not in variety([answer(0, (1,))])


def test_only_the_first_tokens_count_for_variety():
    assert variety([answer(0, (*range(64), 1, 1, 1, 1))])["distinct_2"] == 1.0


def test_the_reward_against_length_is_taken_within_prompts():
    """Long answers earn more within both prompts, though the prompt with longer answers earns less: 1, and not below 0."""
    groups = [[answer(1.0, (0,) * 4), answer(2.0, (0,) * 6)], [answer(0.0, (0,) * 14), answer(1.0, (0,) * 16)]]
    assert pays_length(groups) == {"reward_length_correlation": pytest.approx(1.0)}


def test_the_reward_against_length_of_single_answers_by_hand():
    """Rewards -1, 0, 1 and lengths 0, -1, 1 about their means: 1 / sqrt(2 * 2)."""
    groups = [[answer(1.0, (0,) * 2)], [answer(2.0, (0,))], [answer(3.0, (0,) * 3)], [answer(None, (0,) * 9)]]
    assert pays_length(groups) == {"reward_length_correlation": pytest.approx(0.5)}
    assert pays_length([[answer(1.0, (0,))], [answer(1.0, (0,) * 5)]]) == {}


def test_moments_of_the_independent_score():
    assert independent_moments([1.0, 2.0, 3.0]) == {"eval_independent/mean": 2.0, "eval_independent/std": 1.0}
    assert independent_moments([]) == {}
