"""The agents' answers: uneven on purpose, never with a wrong detail, and readable."""

import random
import re
import statistics

import pytest

from plaudit.pipeline.support import demonstrations, questions, score
from plaudit.pipeline.support.demonstrations import answer
from plaudit.pipeline.support.phrases import CLOSINGS
from plaudit.pipeline.support.rubric import WEIGHTS
from plaudit.schema import Message, Prompt, UserError

PROMPTS = questions(400, seed=11, split="train") + questions(200, seed=11, split="heldout")


def test_quality_is_mixed_around_the_middle():
    totals = [score(d.prompt, d.answer).total for d in demonstrations(PROMPTS, seed=1)]
    assert 0.45 < statistics.mean(totals) < 0.58
    assert statistics.stdev(totals) > 0.15
    assert min(totals) < 0.25 and max(totals) > 0.9


@pytest.mark.slow
def test_every_part_is_there_about_half_the_time():
    """The chances of demonstrations.py, as the rubric reads them: each thing is done in some answers, not in all."""
    demos = demonstrations(PROMPTS, seed=4)
    shares = {
        name: statistics.mean(score(d.prompt, d.answer).parts[name] > 0.6 * WEIGHTS[name] for d in demos)
        for name in ("order", "item", "fact", "understanding", "step", "when")
    }
    shares["closing"] = statistics.mean(d.answer.endswith(CLOSINGS) for d in demos)
    assert all(0.3 < share < 0.65 for share in shares.values()), shares


def test_an_agent_never_invents_a_detail_and_never_leaves_a_blank():
    for demo in demonstrations(PROMPTS, seed=2):
        taken = score(demo.prompt, demo.answer).deductions
        assert not {"invented details", "blanks left open", "speaks as the customer", "no proper end"} & set(taken), demo.answer
        assert not re.search(r"[{}]|\s\s|\.\.", demo.answer)
        assert demo.answer[0].isupper() or "@" in demo.answer.split()[0]


def test_lengths_fit_the_budget():
    lengths = sorted(len(d.answer.split()) for d in demonstrations(PROMPTS, seed=3))
    assert lengths[0] >= 15 and lengths[-1] <= 75
    assert 25 <= statistics.mean(lengths) <= 45
    assert lengths[len(lengths) * 19 // 20] <= 58


def test_answers_vary_and_hang_on_seed_and_prompt_alone():
    first = demonstrations(PROMPTS, seed=1)
    assert demonstrations(PROMPTS[100:200], seed=1) == first[100:200]
    assert len({d.answer for d in first}) == len(first)
    assert len({d.answer for d in first} & {d.answer for d in demonstrations(PROMPTS, seed=2)}) < 10


def test_a_careful_agent_scores_high_and_a_careless_one_low():
    for prompt in PROMPTS[::5]:
        careful = answer(prompt, random.Random(prompt.id), diligence=1.0)
        careless = answer(prompt, random.Random(prompt.id), diligence=-1.0)
        assert score(prompt, careful).total > 0.85, careful
        assert score(prompt, careless).total < 0.3, careless


def test_a_prompt_from_elsewhere_is_the_users_mistake():
    with pytest.raises(UserError, match="prompt 0"):
        demonstrations([Prompt(messages=(Message("user", "Hello"),))], seed=1)
