"""Every algorithm that eats judged answers learns, from scratch, to tell the better of two unseen answers.

A plain rule without noise decides which that is, so the optimum is 1. The algorithms are those of the registry.
"""

import numpy as np
import pytest
import torch
from toy_world import flipped, learner_of, networks_of, tokenizer_of

from plaudit.data.aspects import collate_aspects, encode_aspects
from plaudit.data.collate import collate_labels, collate_rankings, collate_steps
from plaudit.data.encode import encode_labels, encode_rankings, encode_stepwise
from plaudit.registry import find, names
from plaudit.schema import Label, Prompt, Ranking, Rated, Steps
from plaudit.training.feed import Feed

pytestmark = pytest.mark.slow
LETTERS, LONGEST = "abcdef", 8
KINDS = [name for name in names("algorithms") if find("algorithms", name).eats in ("rankings", "labels", "aspects", "steps")]


def pairs(count, seed, avoid=frozenset()):
    """Pairs of random answers of one length: the one with more of the letter `a` is the better; no answer of `avoid`."""
    generator, found = np.random.default_rng(seed), []
    while len(found) < count:
        size = generator.integers(3, LONGEST + 1)
        answers = ["".join(generator.choice(list(LETTERS), size)) for _ in range(2)]
        better, worse = sorted(answers, key=lambda answer: -answer.count("a"))
        if better.count("a") > worse.count("a") and not avoid & {better, worse}:
            found.append(Ranking(Prompt(text=str(generator.choice(list("bcdef")))), (better, worse)))
    return found


def single(rankings):
    """The same answers one by one, with a thumb up for the better of each pair and down for the worse."""
    return [Label(pair.prompt, answer, float(place == 0)) for pair in rankings for place, answer in enumerate(pair.answers)]


def judged(algorithm, rankings):
    """The same answers as the algorithm eats them: rankings, labels, an aspect that is 1 or 0, one step, right or wrong."""
    if algorithm.eats == "aspects":
        return [Rated(label.prompt, label.answer, scores={"good": label.value}) for label in single(rankings)]
    if algorithm.eats == "steps":
        return [Steps(label.prompt, (label.answer,), (label.value,)) for label in single(rankings)]
    return single(rankings) if algorithm.eats == "labels" else rankings


def batches(algorithm, tokenizer, rankings):
    """What the algorithm eats, encoded, and how it is collated."""
    if algorithm.eats == "rankings":
        return encode_rankings(tokenizer, rankings)[0], collate_rankings
    if algorithm.eats == "aspects":
        return encode_aspects(tokenizer, judged(algorithm, rankings))[0], collate_aspects
    if algorithm.eats == "steps":
        return encode_stepwise(tokenizer, judged(algorithm, rankings))[0], collate_steps
    return encode_labels(tokenizer, single(rankings))[0], lambda rows: collate_labels(rows, mismatched=algorithm.mismatched)


@torch.no_grad()
def accuracy(learner, algorithm, tokenizer, rankings):
    """Share of pairs whose better answer scores higher, ties half: by the head, or by the log-likelihood that was gained.

    Algorithms that divide by the length or know no reference order answers of one length alike.
    """
    batch = collate_rankings(encode_rankings(tokenizer, rankings)[0])
    network, wants = next((learner.networks[role], wants) for role, wants in algorithm.networks.items())
    before_end = torch.zeros_like(batch.mask).scatter(1, (batch.length - 2)[:, None], 1.0)  # where the only step ends
    outputs = network(batch.with_(streams={"step": before_end}), wants)
    score = outputs.score
    if outputs.classes is not None:
        score = outputs.classes[:, -1] - (outputs.classes[:, 0] if algorithm.eats == "labels" else 0)
    if outputs.steps is not None:
        score = outputs.steps.sum(-1)
    if score is None:
        score = (outputs.logp * batch.mask).sum(-1)
        if learner.reference is not None:
            score = score - (learner.reference(batch, {"logp"}).logp * batch.mask).sum(-1)
    gap = score[0::2] - score[1::2]
    return float((gap > 0).float().mean() + 0.5 * (gap == 0).float().mean())


def held_out_accuracy(kind, seed, turned=False, steps=60):
    """Accuracy on 400 pairs of answers that were never trained on."""
    tokenizer, algorithm = tokenizer_of(LETTERS), find("algorithms", kind)
    made = (flipped(algorithm) if turned else algorithm)(algorithm.Config())
    seen = pairs(2000, seed)
    made.study(judged(algorithm, seen), [])
    learner = learner_of(made, networks_of(made, tokenizer, seed), 3e-3, steps, tokenizer=tokenizer, seed=seed)
    unseen = pairs(400, seed + 1000, frozenset(answer for pair in seen for answer in pair.answers))
    rows, collate = batches(algorithm, tokenizer, seen)
    assert accuracy(learner, algorithm, tokenizer, unseen) < 0.65
    feed = Feed(len(rows), 32, seed)
    for step in range(steps):
        assert learner.step(collate([rows[i] for i in feed.at(step)]))["refused"] == 0
    return accuracy(learner, algorithm, tokenizer, unseen)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_learns_the_rule(kind, seed):
    assert held_out_accuracy(kind, seed) >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_sign_turned_it_does_not(kind):
    assert held_out_accuracy(kind, 1, turned=True, steps=30) < 0.5
