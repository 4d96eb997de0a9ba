"""Perplexity of answers: against a slow twin, on a model that knows nothing, and on the embedded model."""

import math

import numpy as np
import pytest
import torch

from plaudit.data.template import encode_answer
from plaudit.evaluation.perplexity import answer_logprobs, distance, perplexity, shuffled
from plaudit.models.load import load
from plaudit.schema import Demonstration, Message, Prompt, Ranking

ASK = Prompt(messages=(Message("user", "where is the order ?"),))
SAID = ["the order is here", "sorry , no refund", "yes", "your refund is on the way to you"]
ITEMS = [*(Demonstration(ASK, text) for text in SAID), Ranking(ASK, ("the best", "the worst"))]


@pytest.fixture(scope="module")
def tiny():
    return load("tiny")


def test_log_probabilities_are_those_of_one_row_after_the_other(tiny):
    rows = [encode_answer(tiny.tokenizer, ASK, text) for text in SAID * 3]
    found = answer_logprobs(tiny, rows)
    for row, value in zip(rows, found, strict=True):
        with torch.no_grad():
            logits = tiny.model(torch.tensor([row.ids], device=tiny.model.device)).logits[0].double().log_softmax(-1)
        expected = sum(logits[t - 1, row.ids[t]].item() for t in range(1, len(row)) if row.mask[t])
        assert value == pytest.approx(expected, rel=1e-4)


def test_a_model_that_knows_nothing_has_the_size_of_its_vocabulary_as_perplexity():
    blank = load("tiny")
    with torch.no_grad():
        for weight in blank.model.parameters():
            weight.zero_()
    found = distance(blank, ITEMS)
    for interval in (found.perplexity, found.shuffled):
        assert interval == pytest.approx((len(blank.tokenizer),) * 3, rel=1e-4)
    assert found.answers == found.of == 5 and found.cut == 0


def test_by_hand():
    found = perplexity(np.log([0.5, 0.25]) * [1, 3], np.array([1.0, 3.0]))
    assert found.mean == pytest.approx(math.exp((math.log(2) + 3 * math.log(4)) / 4)) and found.low <= found.mean <= found.high
    assert (found.low, found.high) == pytest.approx((2.0, 4.0))  # two rows: now and then a draw has one of them only


def test_shuffling_keeps_the_prompt_and_the_tokens(tiny):
    row = encode_answer(tiny.tokenizer, ASK, SAID[3])
    mixed = shuffled(row, np.random.Generator(np.random.Philox(key=[0, 0])))
    head = row.prompt_length
    assert mixed.ids[:head] == row.ids[:head] and mixed.ids != row.ids and sorted(mixed.ids) == sorted(row.ids)


def test_a_sample_is_drawn_and_long_answers_are_cut_and_both_are_told(tiny):
    long = Demonstration(ASK, "the order " * 600)
    found = distance(tiny, [*ITEMS, long], rows=6)
    assert found.cut == 1 and found.tokens < 600 and any("1 answers are longer" in line for line in found.lines())
    part = distance(tiny, ITEMS, rows=3, seed=1)
    assert (part.answers, part.of) == (3, 5) and part == distance(tiny, ITEMS, rows=3, seed=1)
    assert "perplexity of 3 of 5 answers" in part.lines()[0] and part.to_json()["perplexity"][0] == part.perplexity.mean
    assert distance(tiny, [ASK]) is None


@pytest.mark.model
@pytest.mark.slow
def test_the_embedded_model_tells_english_from_noise():
    loaded = load("smollm2-135m-instruct")
    ask = Prompt(messages=(Message("user", "Where is my order?"),))
    english = [
        "Your order left our warehouse this morning and will reach you in two days.",
        "I am sorry for the delay. Could you tell me the number of your order?",
        "It is on its way to you, and you can follow it with the link in our message.",
        "We have sent the refund to your card, and it will take a few days to arrive.",
    ]
    random = np.random.Generator(np.random.Philox(key=[1, 1]))
    noise = ["".join(chr(c) for c in random.integers(33, 126, size=60)) for _ in english]
    near = distance(loaded, [Demonstration(ask, text) for text in english])
    far = distance(loaded, [Demonstration(ask, text) for text in noise])
    assert near.perplexity.high < near.shuffled.low and near.far.mean == 0.0
    assert far.perplexity.mean > 10 * near.perplexity.mean and far.far.mean > 0.5
