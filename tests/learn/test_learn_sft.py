"""SFT, from scratch, gets to at least 90 % of the way from the untrained model to the entropy of the demonstrations' source."""

import math

import numpy as np
import pytest
from toy_world import flipped, learner_of, network, tokenizer_of

from plaudit.algorithms.sft import SFT, SFTConfig
from plaudit.data.collate import collate_demonstrations
from plaudit.data.encode import encode_demonstrations
from plaudit.schema import Demonstration, Prompt
from plaudit.training.feed import Feed
from plaudit.training.sources import Rows

pytestmark = pytest.mark.slow
LETTERS = "abcdef"
SURE = 0.8
"""Each letter is answered by the next one of the alphabet with this probability, else by any of the others."""


def chance(prompt, answer):
    follower = LETTERS[(LETTERS.index(prompt) + 1) % len(LETTERS)]
    return SURE if answer == follower else (1 - SURE) / (len(LETTERS) - 1)


ENTROPY = -SURE * math.log(SURE) - (1 - SURE) * math.log((1 - SURE) / (len(LETTERS) - 1))
"""Nats of an answer's letter; its end token is certain, so nobody can do better than ENTROPY / 2 a token."""


def rows(tokenizer, demonstrations):
    return encode_demonstrations(tokenizer, demonstrations)[0]


def whole_truth():
    """Every prompt with every answer, weighted by its probability: the loss on it is the expected loss, without any noise."""
    return [Demonstration(Prompt(text=p), a, weight=chance(p, a)) for p in LETTERS for a in LETTERS]


def drawn(count, seed):
    """Demonstrations sampled from the source."""
    generator = np.random.default_rng(seed)
    found = []
    for prompt in generator.choice(list(LETTERS), count):
        answer = generator.choice(list(LETTERS), p=[chance(prompt, a) for a in LETTERS])
        found.append(Demonstration(Prompt(text=str(prompt)), str(answer)))
    return found


def share_of_optimum(seed, algorithm=SFT, steps=60):
    """(loss before - loss after) / (loss before - best possible loss), on the whole truth."""
    tokenizer = tokenizer_of(LETTERS)
    networks = {"policy": network("policy", tokenizer, seed)}
    learner = learner_of(algorithm(SFTConfig()), networks, 3e-3, steps, seed=seed)
    train, truth = rows(tokenizer, drawn(1500, seed)), rows(tokenizer, whole_truth())
    source = Rows(train, truth, collate_demonstrations, Feed(len(train), 64, seed), 64)
    before = source.evaluate(0, learner)[0]
    for step in range(steps):
        assert learner.step(source.at(step, learner).batch)["refused"] == 0
    after = source.evaluate(steps, learner)[0]
    sign = 1 if algorithm is SFT else -1
    return sign * (before["eval_loss"] - after["eval_loss"]) / (sign * before["eval_loss"] - ENTROPY / 2)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_sft_learns_the_source_of_the_demonstrations(seed):
    """Never above 1 either: a loss below the entropy would mean that the evaluation counts wrongly."""
    assert 0.9 <= share_of_optimum(seed) <= 1.0


def test_sft_with_the_sign_turned_does_not():
    assert share_of_optimum(1, flipped(SFT), steps=20) < 0
