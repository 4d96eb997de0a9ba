"""PPO, from scratch, reaches at least 90 % of an optimum computed exactly; with the signs of its losses turned it does not."""

import pytest
import torch
from toy_world import flipped, online, tokenizer_of

from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.core.batch import from_rows
from plaudit.schema import Prompt

pytestmark = pytest.mark.slow
LETTERS = "abcd"
PROMPTS = [Prompt(text=letter) for letter in LETTERS]
PLACES, BETA = 2, 0.1


def share_of_prompt(prompts, completions, places):
    """The share of so many places at which the answer says the prompt's letter."""
    return [answer.count(prompt) / places for prompt, answer in zip(prompts, completions, strict=True)]


def echo(prompts, completions, **_):
    return share_of_prompt(prompts, completions, 4)


def short_echo(prompts, completions, **_):
    return share_of_prompt(prompts, completions, PLACES)


def echo_run(seed, algorithm=PPO, steps=40):
    options = PPOConfig(kl_coef=0.0)
    run = online(algorithm(options), tokenizer_of(LETTERS), PROMPTS, echo, seed=seed, rows=64, tokens=4, rate=3e-3, steps=steps)
    return run.train(steps)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ppo_learns_to_say_the_prompts_letter(seed):
    """The optimum is 1; the best constant answer gets 1/4, an answer of the untrained policy about 1/6."""
    rewards = echo_run(seed)
    assert sum(rewards[:3]) / 3 < 0.3
    assert sum(rewards[-5:]) / 5 >= 0.9


def test_ppo_with_the_signs_turned_does_not_learn_it():
    assert sum(echo_run(1, flipped(PPO), steps=20)[-5:]) / 5 < 0.4


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


def regularised_run(seed, algorithm=PPO, steps=40):
    tokenizer = tokenizer_of(LETTERS)
    options = PPOConfig(kl_coef=BETA)
    run = online(algorithm(options), tokenizer, PROMPTS, short_echo, seed=seed, rows=128, tokens=PLACES, rate=3e-3, steps=steps)
    run.train(steps)
    return share_of_regularised_optimum(run, tokenizer)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ppo_reaches_the_optimum_under_the_kl_penalty(seed):
    """Over-shooting costs as much as under-shooting here: the optimum is ref(y) exp(r(y) / beta) / Z, not the best answer."""
    assert regularised_run(seed) >= 0.9


def test_ppo_with_the_signs_turned_does_not_reach_it():
    assert regularised_run(1, flipped(PPO), steps=20) < 0.0
