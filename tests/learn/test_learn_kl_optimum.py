"""Algorithms with a KL price reach at least 90 % of the optimum under it, computed exactly; with turned signs they do not."""

import pytest
import torch
from toy_world import flipped, online, tokenizer_of

from plaudit.core.batch import from_rows
from plaudit.registry import find
from plaudit.schema import Prompt

pytestmark = pytest.mark.slow
LETTERS = "abcd"
PROMPTS = [Prompt(text=letter) for letter in LETTERS]
PLACES, BETA = 2, 0.1


def share_of_prompt(prompts, completions, places):
    """The share of so many places at which the answer says the prompt's letter."""
    return [answer.count(prompt) / places for prompt, answer in zip(prompts, completions, strict=True)]


def short_echo(prompts, completions, **_):
    return share_of_prompt(prompts, completions, PLACES)


def every_answer(tokenizer):
    """All answers of at most PLACES tokens: those that end early, and those that run into the limit."""
    ids = range(len(tokenizer))
    found = [[tokenizer.eos_token_id]]
    return found + [[first, second] for first in ids if first != tokenizer.eos_token_id for second in ids]


@torch.no_grad()
def distribution(network, tokenizer, prompt):
    """Log-probability of every answer to a prompt: one batch, one forward, and their probabilities add up to 1."""
    start = tokenizer(prompt.text).input_ids
    answers = every_answer(tokenizer)
    batch = from_rows([[*start, *y] for y in answers], [[0] * len(start) + [1] * len(y) for y in answers])
    logp = network(batch, {"logp"}).logp.sum(-1).double()
    assert torch.isclose(logp.exp().sum(), torch.tensor(1.0, dtype=torch.float64), atol=1e-5)
    return logp


def share_of_regularised_optimum(run, tokenizer):
    """(J - J_ref) / (J* - J_ref), where J(pi) = E r - beta KL(pi || ref) and J* = beta log E_ref exp(r / beta), exactly."""
    share = []
    for prompt in PROMPTS:
        texts = [tokenizer.decode(y, skip_special_tokens=True) for y in every_answer(tokenizer)]
        reward = torch.tensor(share_of_prompt([prompt.text] * len(texts), texts, PLACES), dtype=torch.float64)
        ref = distribution(run.learner.reference, tokenizer, prompt)
        now = distribution(run.learner.networks["policy"], tokenizer, prompt)
        start = (ref.exp() * reward).sum()
        best = BETA * torch.logsumexp(ref + reward / BETA, 0)
        objective = (now.exp() * (reward - BETA * (now - ref))).sum()
        share.append(float((objective - start) / (best - start)))
    return sum(share) / len(share)


PRICED = {"ppo": "kl_coef", "reinforce_pp": "kl_coef", "rloo": "beta", "grpo": "beta"}
"""Algorithms with a price on the KL to the reference, and the option that sets it. (REINFORCE++ whitens the sum of reward and
penalty, which leaves their proportion as it is; GRPO is asked without the scaling of its rewards, which would not.)"""
OPTIONS = {"grpo": {"scale_rewards": "none"}}


def regularised_run(seed, kind, turned=False, steps=40):
    tokenizer, algorithm = tokenizer_of(LETTERS), find("algorithms", kind)
    made = (flipped(algorithm) if turned else algorithm)(algorithm.Config(**{PRICED[kind]: BETA}, **OPTIONS.get(kind, {})))
    run = online(made, tokenizer, PROMPTS, short_echo, seed=seed, rows=128, tokens=PLACES, rate=3e-3, steps=steps)
    run.train(steps)
    return share_of_regularised_optimum(run, tokenizer)


@pytest.mark.parametrize("kind", PRICED)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_reaches_the_optimum_under_the_kl_penalty(seed, kind):
    """Over-shooting costs as much as under-shooting here: the optimum is ref(y) exp(r(y) / beta) / Z, not the best answer."""
    assert regularised_run(seed, kind) >= 0.9


@pytest.mark.parametrize("kind", PRICED)
def test_with_the_signs_turned_it_does_not_reach_it(kind):
    assert regularised_run(1, kind, turned=True, steps=20) < 0.0
