"""Each prompt's answers may have a length limit of their own."""

from __future__ import annotations

import pytest

from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.load import load
from plaudit.schema import Prompt, Sampling

LIMITS = [5, 1, 9, 30]


@pytest.fixture(scope="module")
def engine():
    loaded = load("tiny")
    loaded.tokenizer.eos_token = None  # nothing ends an answer but its limit
    made = TorchEngine(loaded.model.config, loaded.tokenizer, slots=2)
    made.load(loaded.model.state_dict().items(), "tiny")
    return made


def test_answers_end_at_the_limits_of_their_prompts(engine):
    prompts = [Prompt(text="a" * length) for length in (3, 9, 1, 5)]
    plain = engine.generate(prompts, 2, Sampling(12, seed=1))
    cut = engine.generate(prompts, 2, Sampling(12, seed=1), limits=LIMITS)
    assert [len(answer.tokens) for answer in plain] == [12] * 8
    # max_new_tokens still holds, and what is written before the end is the same
    assert [len(answer.tokens) for answer in cut] == [5, 5, 1, 1, 9, 9, 12, 12]
    assert all(a.tokens == b.tokens[: len(a.tokens)] and a.truncated for a, b in zip(cut, plain, strict=True))
