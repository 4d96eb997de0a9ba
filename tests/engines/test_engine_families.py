"""Each family's answers are transformers' own, token by token."""

import pytest
import torch
from engine_models import PROMPTS, engine, forward_logits

from family_models import CASES, family_model
from plaudit.schema import Sampling

GREEDY = Sampling(max_new_tokens=24, temperature=0)


def by_transformers(model, completion, count):
    ids = torch.tensor([completion.prompt_tokens])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=count)
    return tuple(out[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("case", CASES)
def test_greedy_answers_of_each_family_are_those_of_transformers(case):
    model = family_model(case)
    said = engine(model, slots=3).generate(PROMPTS, 1, GREEDY)  # fewer slots than rows: rows come and go
    assert len({row.tokens for row in said}) > 2
    for completion in said:
        assert completion.tokens == by_transformers(model, completion, 24)


@pytest.mark.parametrize("case", CASES)
def test_recorded_logprobs_of_each_family_are_those_of_a_plain_forward(case):
    model = family_model(case, torch.float64)
    sampling = Sampling(max_new_tokens=24, temperature=0.9, seed=5)
    for completion in engine(model, slots=3).generate(PROMPTS, 2, sampling):
        logp = torch.log_softmax(forward_logits(model, completion) / 0.9, -1)
        expected = logp.gather(1, torch.tensor(completion.tokens)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs, dtype=torch.float64), expected, rtol=0, atol=1e-5)
