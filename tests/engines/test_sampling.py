import math

import numpy as np
import pytest
import torch
from transformers.generation.logits_process import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from plaudit.engines.sampling import draw, keep, uniforms
from plaudit.schema import Sampling

FILTERS = [
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 400},
    {"top_k": 5000},
    {"top_p": 0.05},
    {"top_p": 0.7},
    {"top_p": 0.999},
    {"top_k": 40, "top_p": 0.6},
    {"top_p": 0.95, "min_p": 0.05},
    {"top_k": 300, "top_p": 0.9, "min_p": 0.01},
    {"min_p": 0.2},
]
SIZES = [7, 256, 1000, 1024]


def random_logits(rows, size, scale=2.0, seed=0):
    return torch.randn(rows, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def warped(logits, sampling):
    """What transformers' warpers leave, in the order in which generate applies them."""
    scores = logits / sampling.temperature
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    if sampling.min_p:
        scores = MinPLogitsWarper(sampling.min_p)(None, scores)
    return scores


def kept_sets(chosen):
    lines = [chosen.wide.get(row) for row in range(len(chosen.ids))]
    pairs = [(line.ids[0], line.weights[0]) if line else (chosen.ids[r], chosen.weights[r]) for r, line in enumerate(lines)]
    return [set(ids[weights > 0].tolist()) for ids, weights in pairs]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("scale", [0.1, 2.0, 6.0])
def test_kept_tokens_are_those_of_transformers(filters, size, scale):
    logits = random_logits(6, size, scale)
    expected = [set(row.isfinite().nonzero()[:, 0].tolist()) for row in warped(logits, Sampling(**filters))]
    assert kept_sets(keep(logits, Sampling(**filters))) == expected
    assert kept_sets(keep(logits, Sampling(**filters), candidates=4)) == expected


def test_ties_with_the_kth_are_kept_as_in_transformers():
    logits = torch.zeros(2, 600, dtype=torch.float64)
    logits[1, :3] = 1.0
    for k in (2, 3, 10):
        expected = [set(row.isfinite().nonzero()[:, 0].tolist()) for row in warped(logits, Sampling(top_k=k))]
        assert kept_sets(keep(logits, Sampling(top_k=k))) == expected


def test_a_nucleus_among_more_ties_than_candidates_is_measured_over_all_of_them():
    """600 equal tokens are all kept by top-k 2; top-p 0.5 leaves half of them, though only 256 are sorted at first."""
    logits = torch.zeros(1, 600, dtype=torch.float64)
    assert len(kept_sets(keep(logits, Sampling(top_k=2, top_p=0.5)))[0]) == 300


def test_hand_worked_filters():
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64).log()

    def logprobs_of(u, **filters):
        ids, logprobs = draw(logits, torch.tensor([u], dtype=torch.float64), Sampling(**filters))
        return ids.item(), math.exp(logprobs.item())

    assert logprobs_of(0.49) == (0, pytest.approx(0.5))
    assert logprobs_of(0.51) == (1, pytest.approx(0.25))
    assert logprobs_of(0.99) == (3, pytest.approx(0.125))
    assert logprobs_of(0.99, top_k=2) == (1, pytest.approx(1 / 3))
    assert logprobs_of(0.99, top_p=0.6) == (1, pytest.approx(1 / 3))
    assert logprobs_of(0.99, min_p=0.3) == (1, pytest.approx(1 / 3))
    assert logprobs_of(0.99, top_k=2, top_p=0.6) == (0, pytest.approx(1.0))  # after top-k the first has 2 / 3
    assert logprobs_of(0.79, temperature=0.5) == (1, pytest.approx(0.0625 / 0.34375))
    assert logprobs_of(0.99, temperature=0) == (0, 1.0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", SIZES)
def test_the_inverse_in_two_levels_equals_a_plain_cumulative_sum(size, dtype):
    """The token whose stretch of the cumulative distribution holds the uniform number, within the rounding of the sums."""
    rows = 400
    logits = random_logits(rows, size, 3.0).to(dtype)
    uniform = torch.from_numpy(np.random.default_rng(1).random(rows))
    uniform[:4] = torch.tensor([0.0, 1 - 2**-53, 2**-60, 0.5], dtype=torch.float64)
    ids, logprobs = draw(logits, uniform, Sampling())
    edges = np.cumsum(np.exp(logits.double().numpy() - logits.double().numpy().max(-1, keepdims=True)), -1)
    edges /= edges[:, -1:]
    slack = 1e-12 if dtype == torch.float64 else 1e-5
    for row, (token, u) in enumerate(zip(ids.tolist(), uniform.tolist(), strict=True)):
        assert (edges[row, token - 1] if token else 0.0) - slack <= u <= edges[row, token] + slack
        if dtype == torch.float64:
            assert token == min(np.searchsorted(edges[row], u, side="right"), size - 1)
    expected = torch.log_softmax(logits.double(), -1).gather(1, ids[:, None])[:, 0]
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=slack)


@pytest.mark.parametrize("filters", [{}, *FILTERS], ids=str)
def test_removed_and_impossible_tokens_are_never_drawn(filters):
    logits = random_logits(1, 700, 2.0)
    logits[0, 100:500] = -math.inf
    sampling = Sampling(temperature=1.3, **filters)
    allowed = set(warped(logits, sampling)[0].isfinite().nonzero()[:, 0].tolist()) - set(range(100, 500))
    uniform = torch.cat([torch.linspace(0, 1, 3000, dtype=torch.float64)[:-1], torch.tensor([1 - 2**-53], dtype=torch.float64)])
    ids, logprobs = draw(logits.expand(3000, -1).float(), uniform, sampling)
    assert set(ids.tolist()) <= allowed
    expected = torch.log_softmax(warped(logits, sampling), -1)[0, ids]
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("filters", [{}, {"top_k": 12}, {"top_p": 0.9}, {"min_p": 0.05}], ids=str)
def test_frequencies_are_those_of_the_softmax(filters):
    """Chi-square over 40,000 draws with each row's own stream; 4.5 standard deviations of the statistic are allowed."""
    count, size = 40_000, 300
    logits = random_logits(1, size, 1.5)
    sampling = Sampling(temperature=0.8, **filters)
    probs = torch.softmax(warped(logits, sampling), -1)[0]
    uniform = torch.from_numpy(np.concatenate([uniforms(seed, 40) for seed in range(count // 40)]))
    ids = torch.cat([draw(logits.expand(len(u), -1), u, sampling)[0] for u in uniform.split(4000)])
    seen = torch.bincount(ids, minlength=size).double()
    assert seen[probs == 0].sum() == 0
    expected = probs * count
    common = expected >= 5
    seen = torch.cat([seen[common], seen[~common].sum()[None]])
    expected = torch.cat([expected[common], expected[~common].sum()[None]])
    seen, expected = seen[expected > 0], expected[expected > 0]
    freedom = len(seen) - 1
    statistic = ((seen - expected) ** 2 / expected).sum().item()
    assert abs(statistic - freedom) < 4.5 * math.sqrt(2 * freedom)


def test_a_longer_stream_begins_with_the_shorter_one():
    assert (uniforms(2**53 - 1, 300)[:7] == uniforms(2**53 - 1, 7)).all()
    assert not (uniforms(1, 7) == uniforms(2, 7)).any()


def test_each_row_is_drawn_by_itself_even_where_another_needs_a_full_sort():
    logits = torch.cat([random_logits(3, 1000, 6.0), random_logits(2, 1000, 0.01, seed=1)])
    uniform = torch.tensor([0.1, 0.5, 0.9, 0.3, 0.999], dtype=torch.float64)
    sampling = Sampling(top_p=0.9)
    assert set(keep(logits, sampling).wide) == {3, 4}
    ids, logprobs = draw(logits, uniform, sampling)
    for row in range(5):
        one, logprob = draw(logits[row : row + 1], uniform[row : row + 1], sampling)
        assert one.item() == ids[row] and logprob.item() == pytest.approx(logprobs[row].item(), abs=1e-12)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_refused(wrong):
    logits = random_logits(3, 10)
    logits[1, 4] = wrong
    with pytest.raises(FloatingPointError, match="not finite"):
        draw(logits, torch.zeros(3, dtype=torch.float64), Sampling())
