"""The engine's laws on a GPU; skipped where there is none."""

import pytest
import torch
from engine_models import PROMPTS, engine, forward_logits, llama

from family_models import CASES, family_model
from plaudit.schema import Sampling

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_greedy_answers_on_cuda_are_those_of_transformers_in_float32():
    model = llama(torch.float32).cuda()
    for row in engine(model, slots=3).generate(PROMPTS, 1, Sampling(max_new_tokens=24, temperature=0)):
        ids = torch.tensor([row.prompt_tokens], device="cuda")
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=24)
        assert row.tokens == tuple(out[0, ids.shape[1] :].tolist())


@pytest.mark.parametrize("filters", [{}, {"top_p": 0.9, "top_k": 40, "min_p": 0.01}], ids=["all tokens", "filtered"])
def test_a_gpu_in_float64_writes_what_the_cpu_writes(filters):
    """The same tokens; log-probabilities within the float32 rounding of norms and rotary angles, which differs by device."""
    model = llama()
    sampling = Sampling(max_new_tokens=40, **filters)
    expected = engine(model).generate(PROMPTS, 4, sampling)
    for slots in (3, 64):
        found = engine(model, slots=slots, device="cuda").generate(PROMPTS, 4, sampling)
        assert [row.id for row in found] == [row.id for row in expected]
        for row, twin in zip(found, expected, strict=True):
            assert row.logprobs == pytest.approx(twin.logprobs, abs=1e-5)


def test_bfloat16_on_cuda_is_near_float32():
    model = llama(torch.bfloat16, initializer_range=0.1).cuda()
    rows = engine(model, slots=3).generate(PROMPTS, 3, Sampling(max_new_tokens=24))
    wide = model.cpu().float()
    gaps = []
    for row in rows:
        logp = torch.log_softmax(forward_logits(wide, row), -1).gather(1, torch.tensor(row.tokens)[:, None])[:, 0]
        gaps += (torch.tensor(row.logprobs) - logp).abs().tolist()
    assert 0 < sum(gaps) / len(gaps) < 0.02


WAYS = {"plain": {}, "cooler, min-p": {"temperature": 0.7, "min_p": 0.01}, "top-k": {"top_k": 20}, "greedy": {"temperature": 0}}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_recorded_steps_with_fast_kernels_write_what_plain_ones_write(options):
    """In float32, for any number of rows (recordings have rows to spare), and after weights, cache and slots have changed."""
    sampling = Sampling(24, **options)
    fast, slow = (engine(llama(torch.float32), slots=7, device="cuda", compiled=compiled) for compiled in (None, False))
    assert (fast.kernels, slow.kernels) == ("triton", "torch")
    for seed, n in ((0, 1), (1, 5), (2, 3)):
        weights = dict(llama(torch.float32, seed=seed).state_dict())
        both = []
        for made in (fast, slow):
            made.load(weights.items(), str(seed))
            both.append(made.generate(PROMPTS, n, sampling))
            if seed == 1:
                made.release()
        for row, twin in zip(*both, strict=True):
            assert row.tokens == twin.tokens
            assert row.logprobs == pytest.approx(twin.logprobs, abs=1e-3)
    assert len(fast.graphs.recorded) > 1


@pytest.mark.parametrize("case", CASES)
def test_fast_kernels_know_every_family(case):
    model = family_model(case, torch.float32)
    fast, slow = (engine(model, device="cuda", compiled=c).generate(PROMPTS, 2, Sampling(16)) for c in (None, False))
    for row, twin in zip(fast, slow, strict=True):
        assert row.tokens == twin.tokens
        assert row.logprobs == pytest.approx(twin.logprobs, abs=1e-3)


def test_numbers_that_are_not_finite_are_told_from_a_recorded_step():
    model = llama(torch.float32)
    made = engine(model, device="cuda")
    made.generate(PROMPTS, 1, Sampling(4))
    model.model.norm.weight.data.fill_(float("nan"))
    made.load(model.state_dict().items(), "broken")
    with pytest.raises(FloatingPointError, match="not finite"):
        made.generate(PROMPTS, 1, Sampling(4))
