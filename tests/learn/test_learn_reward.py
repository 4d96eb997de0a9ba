"""The reward model, from scratch, tells the better of two unseen answers, where a plain rule decides which that is."""

import numpy as np
import pytest
from toy_world import flipped, learner_of, network, tokenizer_of

from plaudit.algorithms.reward import RewardModel, RewardModelConfig
from plaudit.data.collate import collate_rankings
from plaudit.data.encode import encode_rankings
from plaudit.schema import Prompt, Ranking
from plaudit.training.feed import Feed
from plaudit.training.sources import Rows

pytestmark = pytest.mark.slow
LETTERS, LONGEST = "abcdef", 8


def pairs(count, seed, avoid=frozenset()):
    """Pairs of random answers of different lengths: the one with more of the letter `a` is the better; no answer of `avoid`."""
    generator, found = np.random.default_rng(seed), []
    while len(found) < count:
        answers = ["".join(generator.choice(list(LETTERS), generator.integers(2, LONGEST + 1))) for _ in range(2)]
        better, worse = sorted(answers, key=lambda answer: -answer.count("a"))
        if better.count("a") > worse.count("a") and not avoid & {better, worse}:
            found.append(Ranking(Prompt(text=str(generator.choice(list("bcdef")))), (better, worse)))
    return found


def held_out_accuracy(seed, algorithm=RewardModel, steps=60):
    """Accuracy on 400 pairs of answers that were never trained on; labels are without noise, so the optimum is 1."""
    tokenizer = tokenizer_of(LETTERS)
    networks = {"reward": network("reward", tokenizer, seed, head=True)}
    learner = learner_of(algorithm(RewardModelConfig()), networks, 3e-3, steps, seed=seed)
    seen = pairs(2000, seed)
    unseen = pairs(400, seed + 1000, frozenset(answer for pair in seen for answer in pair.answers))
    train, held_out = (encode_rankings(tokenizer, part)[0] for part in (seen, unseen))
    source = Rows(train, held_out, collate_rankings, Feed(len(train), 32, seed), 100)
    assert source.evaluate(0, learner)[0]["eval_accuracy"] == 0.5  # the head starts at 0: every pair is a tie
    for step in range(steps):
        assert learner.step(source.at(step, learner).batch)["refused"] == 0
    return source.evaluate(steps, learner)[0]["eval_accuracy"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_reward_model_learns_the_rule(seed):
    assert held_out_accuracy(seed) >= 0.9


def test_the_reward_model_with_the_sign_turned_does_not():
    assert held_out_accuracy(1, flipped(RewardModel)) < 0.5
