"""The compiled kernels against torch's and against formulas written out."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from engine_models import PROMPTS, engine, llama
from kernel_cases import SHAPES, TYPES, attended, check, norm_of_sum, numbers, shape, summed_and_normed

from plaudit.engines import kernels, prefill
from plaudit.engines.kernels import Compiled, Kernels, Where
from plaudit.engines.kv_cache import KVCache
from plaudit.engines.sampling import draw, uniforms
from plaudit.engines.weights import Linear, packs
from plaudit.models import native
from plaudit.models.products import tiled
from plaudit.schema import Sampling

pytestmark = pytest.mark.skipif(kernels.library() is None, reason="needs a C++ compiler")


def both(made, dtype):
    return Kernels(made, dtype), Compiled(made, dtype, kernels.library())


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_attention_and_what_it_writes_into_the_cache_are_torchs(options, dtype):
    made = shape(**options)
    check(lambda dtype, fast: attended(made, dtype, both(made, dtype)[fast])[0], dtype)
    ours, torchs = (attended(made, dtype, both(made, dtype)[fast])[1] for fast in (True, False))
    torch.testing.assert_close(ours.keys, torchs.keys, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-2)
    assert torch.equal(ours.values, torchs.values)


def test_attention_worked_by_hand():
    """One head of size 1: scores ln 3 x 1 and 0 give the weights 3/4 and 1/4 of the values 4 and 8, hence 5."""
    cache = KVCache(1, 1, 1, torch.float64, torch.device("cpu"))
    cache.reserve(1, 2)
    cache.keys[0, 0, 0, 0], cache.values[0, 0, 0, 0] = 1.0, 4.0
    qkv = torch.tensor([[[math.log(3)], [0.0], [8.0]]], dtype=torch.float64)
    made = shape(head_dim=1)
    out = both(made, torch.float64)[1].attend(0, qkv, None, Where(torch.tensor([1]), 2), cache)
    assert out.item() == pytest.approx(5.0, abs=1e-12)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("offset", [False, True], ids=["weight", "one plus weight"])
def test_norm_of_a_sum_is_the_formula(offset, dtype):
    made = shape(unit_offset=offset)

    def compute(dtype, fast):
        if dtype == torch.float64 and not fast:
            return norm_of_sum(offset)
        return summed_and_normed(made, dtype, both(made, dtype)[fast])

    check(compute, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_gate_is_silu_of_one_half_times_the_other(dtype):
    y = numbers(6, 94) * 20
    check(lambda dtype, fast: both(shape(), dtype)[fast].gate(y.to(dtype)), dtype)


@pytest.mark.parametrize("size", [7, 256, 1000])
def test_draws_are_those_of_the_sampler_in_torch(size):
    compiled = both(shape(), torch.float64)[1]
    uniform = torch.from_numpy(np.random.default_rng(1).random(400))
    uniform[:3] = torch.tensor([0.0, 1 - 2**-53, 2**-60], dtype=torch.float64)
    logits = numbers(400, size) * 3
    logits[:, 2] = -math.inf
    for sampling in (Sampling(), Sampling(temperature=1.7, min_p=0.02), Sampling(temperature=0), Sampling(top_k=5)):
        ids, logprobs = compiled.draw(logits, uniform, sampling)
        expected, expected_logprobs = draw(logits, uniform, sampling)
        assert torch.equal(ids, expected)
        torch.testing.assert_close(logprobs, expected_logprobs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("min_p", [0, 0.05])
def test_frequencies_of_compiled_draws_are_those_of_the_softmax(dtype, min_p):
    """Chi-square over 40,000 draws; 4.5 standard deviations of the statistic are allowed."""
    count, size = 40_000, 300
    logits = (numbers(1, size) * 1.5).to(dtype)
    probs = torch.softmax(logits.double() / 0.8, -1)[0]
    probs = torch.where(probs >= min_p * probs.max(), probs, 0.0)
    probs = probs / probs.sum()
    uniform = torch.from_numpy(np.concatenate([uniforms(seed, 40) for seed in range(count // 40)]))
    ids, logprobs = both(shape(), dtype)[1].draw(logits.repeat(count, 1), uniform, Sampling(temperature=0.8, min_p=min_p))
    seen = torch.bincount(ids, minlength=size).double()
    assert seen[probs == 0].sum() == 0
    torch.testing.assert_close(logprobs, probs.log()[ids], rtol=0, atol=1e-10 if dtype == torch.float64 else 1e-4)
    common = probs * count >= 5
    rest = torch.stack([seen[~common].sum(), (probs * count)[~common].sum()])
    statistic = ((seen - probs * count) ** 2 / (probs * count))[common].sum().item()
    statistic += (((rest[0] - rest[1]) ** 2 / rest[1]).item()) if rest[1] > 0 else 0.0
    freedom = int(common.sum()) - (0 if rest[1] > 0 else 1)
    assert abs(statistic - freedom) < 4.5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_compiled_draws_refuse_what_is_not_finite(wrong):
    logits = numbers(3, 300)
    logits[1, 44] = wrong
    with pytest.raises(FloatingPointError, match="not finite"):
        both(shape(), torch.float64)[1].draw(logits, torch.zeros(3, dtype=torch.float64), Sampling())


def test_a_rows_numbers_are_the_same_to_the_last_bit_whatever_is_beside_it_and_on_any_number_of_threads():
    made, before = shape(heads=6, kv_heads=2, head_dim=64), torch.get_num_threads()
    few, many = (attended(made, torch.bfloat16, both(made, torch.bfloat16)[1], rows=rows)[0] for rows in (1, 5))
    assert torch.equal(many[:1], few)
    try:
        torch.set_num_threads(3)
        assert torch.equal(attended(made, torch.bfloat16, both(made, torch.bfloat16)[1], rows=5)[0], many)
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not packs(torch.bfloat16, torch.device("cpu")), reason="needs a CPU with bf16 units")
@pytest.mark.parametrize("rows", [1, 7, 64, 300])
def test_packed_products_are_the_plain_ones_to_the_last_bit(rows):
    weight, bias, x = (numbers(*size, seed=i).bfloat16() for i, size in enumerate([(96, 64), (96,), (rows, 64)]))
    for shift in (None, bias):
        linear = Linear(weight, shift)
        plain = linear(x)
        linear.pack(None)
        assert linear.weight is None and torch.equal(linear(x), plain)


@pytest.mark.skipif(tiled() is None, reason="needs matrix units")
@pytest.mark.parametrize(("inputs", "outputs"), [(64, 96), (40, 17), (1536, 576), (576, 2048)])
def test_products_of_weights_laid_out_are_no_further_from_float64_and_a_rows_bits_are_its_own(inputs, outputs):
    weight, bias, x = (
        numbers(*size, seed=i).bfloat16() for i, size in enumerate([(outputs, inputs), (outputs,), (300, inputs)])
    )
    exact, plain = F.linear(x.double(), weight.double(), bias.double()), F.linear(x, weight, bias)
    linear, before = Linear(weight, bias), torch.get_num_threads()
    linear.pack(tiled())
    found = linear(x)
    assert linear.weight is None and (found - exact).abs().max() <= 2 * (plain - exact).abs().max()
    try:
        for rows, threads in ((1, 1), (7, 2), (32, 1), (33, 3), (64, 2), (129, 2)):
            torch.set_num_threads(threads)
            assert torch.equal(linear(x[:rows]), found[:rows]) and torch.equal(linear(x[-rows:]), found[-rows:])
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ValueError, match="inputs in bfloat16"):
        linear(x[:, :-1])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_prompts_read_end_to_end_equal_those_read_padded(dtype, monkeypatch):
    model = llama(dtype, num_key_value_heads=1)
    prompts, found = [list(range(3, 3 + count)) for count in (50, 17, 16, 1)], []
    for limit in (prefill.PACKED_LENGTH, 0):
        monkeypatch.setattr(prefill, "PACKED_LENGTH", limit)
        writer = engine(model, compiled=True)
        writer.decoder.reserve(64)
        writer.cache.reserve(6, 64)
        with torch.inference_mode():
            logits = writer.decoder.prefill(prompts, [5, 0, 3, 2], writer.cache)
        held = [writer.cache.keys[:, slot, :, : len(prompt)] for prompt, slot in zip(prompts, (5, 0, 3, 2), strict=True)]
        found.append(torch.cat([logits.flatten(), *(part.flatten() for part in held)]))
    error = (found[0] - found[1]).abs().max()
    assert error < (1e-10 if dtype == torch.float64 else 1e-4 * found[1].abs().max())


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_compiled_answers_depend_on_prompt_and_seed_alone_and_are_torchs(dtype):
    model, sampling = llama(dtype), Sampling(max_new_tokens=20, seed=3)
    expected = engine(model, compiled=True).generate(PROMPTS, 3, sampling)
    for slots in (1, 2, 5):
        found = engine(model, compiled=True, slots=slots).generate(PROMPTS[2:] + PROMPTS[:2], 3, sampling)
        if dtype != torch.bfloat16:  # there the products of few rows round otherwise
            assert {row.id: row.tokens for row in found} == {row.id: row.tokens for row in expected}
    torchs = engine(model, compiled=False).generate(PROMPTS, 3, sampling)
    if dtype != torch.bfloat16:
        assert [row.tokens for row in torchs] == [row.tokens for row in expected]


def test_without_a_compiler_torch_does_it_and_that_is_said(monkeypatch, caplog):
    monkeypatch.setattr(native, "COMPILERS", ("no-such-compiler",))
    monkeypatch.setattr(native, "library", native.library.__wrapped__)
    writer = engine(llama(torch.float32))
    assert writer.decoder.kernels.name == "torch" and "C++ compiler" in caplog.text
    assert writer.generate(PROMPTS[:1], 1, Sampling(max_new_tokens=4))[0].tokens
    assert engine(llama()).decoder.kernels.name == "torch"


def test_a_library_that_others_could_have_written_is_not_loaded(monkeypatch, tmp_path):
    monkeypatch.setenv("PLAUDIT_CACHE", str(tmp_path))
    made = []
    monkeypatch.setattr(native, "_compile", lambda compiler, source, file: made.append(file) or file.write_bytes(b""))
    first = native._compiled("c++", kernels.SOURCE)
    assert first.parent == tmp_path / "kernels" and native._compiled("c++", kernels.SOURCE) == first and len(made) == 1
    first.parent.chmod(0o777)
    assert native._compiled("c++", kernels.SOURCE).parent != first.parent and len(made) == 2
