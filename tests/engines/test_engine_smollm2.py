import pytest
import torch

from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.load import load
from plaudit.schema import Message, Prompt, Sampling

QUESTIONS = (
    "Where is my order 1182?",
    "Write one sentence about a cat.",
    "How do I reset the password of my account? I tried twice.",
)


@pytest.mark.model
@pytest.mark.slow
def test_greedy_answers_of_smollm2_are_those_of_transformers():
    loaded = load("smollm2-135m-instruct")
    model, tokenizer = loaded.model, loaded.tokenizer
    prompts = [Prompt(messages=(Message("user", question),)) for question in QUESTIONS] + [
        Prompt(text="The capital of France is")
    ]
    writer = TorchEngine.from_model(model, tokenizer, slots=3, version="base")
    rows = writer.generate(prompts, 1, Sampling(max_new_tokens=40, temperature=0))
    for row in rows:
        ids = torch.tensor([row.prompt_tokens])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=40, pad_token_id=tokenizer.pad_token_id
        )
        assert row.tokens == tuple(out[0, ids.shape[1] :].tolist())
        assert row.text == tokenizer.decode(row.tokens, skip_special_tokens=True)
    sampled = writer.generate(prompts, 2, Sampling(max_new_tokens=20, seed=1))
    for row in sampled:
        with torch.no_grad():
            logits = model(torch.tensor([row.prompt_tokens + row.tokens])).logits[0, len(row.prompt_tokens) - 1 : -1]
        expected = torch.log_softmax(logits.double(), -1).gather(1, torch.tensor(row.tokens)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(row.logprobs, dtype=torch.float64), expected, rtol=0, atol=1e-3)
