"""Every algorithm that eats prompts learns, from scratch, to say the prompt's letter; with the signs of its losses turned not.

The algorithms are those of the registry: a new one is tested without being listed.
"""

import pytest
from toy_world import flipped, online, tokenizer_of

from plaudit.config import options
from plaudit.registry import find, names
from plaudit.schema import Prompt

pytestmark = pytest.mark.slow
LETTERS = "abcd"
PROMPTS = [Prompt(text=letter) for letter in LETTERS]
PLACES = 4
KINDS = [name for name in names("algorithms") if find("algorithms", name).eats == "prompts"]
UNPRICED = {"ppo": {"kl_coef": 0.0}, "rloo": {"beta": 0.0}, "reinforce_pp": {"kl_coef": 0.0}, "online_dpo": {"beta": 0.05}}
"""No price on moving away from the untrained policy, where an algorithm has one by default."""


def echo(prompts, completions, **_):
    return [answer.count(prompt) / PLACES for prompt, answer in zip(prompts, completions, strict=True)]


def echo_run(kind, seed, turned=False, steps=40):
    algorithm = find("algorithms", kind)
    chosen = algorithm.Config(**UNPRICED.get(kind, {}))
    made = (flipped(algorithm) if turned else algorithm)(chosen)
    run = online(made, tokenizer_of(LETTERS), PROMPTS, echo, seed=seed, rows=64, tokens=PLACES, rate=3e-3, steps=steps)
    return run.train(steps)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_learns_to_say_the_prompts_letter(kind, seed):
    """The optimum is 1; the best constant answer gets 1/4, an answer of the untrained policy about 1/6."""
    rewards = echo_run(kind, seed)
    assert sum(rewards[:3]) / 3 < 0.35
    assert sum(rewards[-5:]) / 5 >= 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_signs_turned_it_does_not(kind):
    assert sum(echo_run(kind, 1, turned=True, steps=20)[-5:]) / 5 < 0.4


def test_every_option_that_is_set_here_exists():
    for kind, chosen in UNPRICED.items():
        assert set(chosen) <= set(options([find("algorithms", kind).Config]))
