"""Log-probabilities on matrix units against float64, beside their slow twin (core/logprob.py)."""

import pytest
import torch

from plaudit.core.logprob import head_logprob
from plaudit.models import head_kernel
from plaudit.models.head_kernel import WORDS, logprob, serves

BF16, F32, F64 = torch.bfloat16, torch.float32, torch.float64
NAMES = ("logp", "entropy", "hidden", "weight")
V, D, N = WORDS + 300, 40, 37
pytestmark = pytest.mark.skipif(serves(torch.zeros(1, 1, dtype=BF16), None, None) is None, reason="needs matrix units (AMX)")


def given(dtype, count=N):
    g = torch.Generator().manual_seed(0)
    hidden = (torch.randn(N, D, generator=g) * 2)[:count].to(BF16).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=g).to(BF16).to(dtype).requires_grad_()
    targets = torch.randint(0, V, (N,), generator=g)
    targets[:3] = torch.tensor([0, WORDS, V - 1])
    return hidden, weight, targets[:count]


def run(by, dtype, *, entropy, count=N, **options):
    """logp, entropy, and the gradients of hidden states and weight."""
    hidden, weight, targets = given(dtype, count)
    low = None if dtype == F64 else weight.detach().to(BF16)
    found = by(hidden, weight, targets, computed=low, **options)
    ways = torch.linspace(-1, 1, count, dtype=F64), torch.linspace(1, -0.5, count, dtype=F64)
    total = (found[0].double() * ways[0]).sum()
    if entropy:  # else nothing comes back for it, which goes another way
        total = total + (found[1].double() * ways[1]).sum()
    total.backward()
    return {name: x.detach().double() for name, x in zip(NAMES, (*found, hidden.grad, weight.grad), strict=True)}


def apart(a, b):
    return {name: float((a[name] - b[name]).abs().max() / b[name].abs().max()) for name in b}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("chunk", [512, 10])
def test_no_further_from_float64_than_the_slow_twin(entropy, temperature, chunk):
    exact = run(head_logprob, F64, entropy=entropy, temperature=temperature)
    ours = apart(run(logprob, F32, entropy=entropy, temperature=temperature, chunk=chunk), exact)
    slow = apart(run(head_logprob, F32, entropy=entropy, temperature=temperature, chunk=chunk), exact)
    for name, error in ours.items():
        assert error < 1.2 * slow[name] + 1e-6, (name, error, slow[name])


def test_a_gradient_is_collected_in_what_stands_there():
    hidden, weight, targets = given(F32)
    low = weight.detach().to(BF16)
    apart_from_it = run(logprob, F32, entropy=True)["weight"]
    for turn in (1, 2):
        found = logprob(hidden, weight, targets, computed=low, chunk=20, collecting=True)
        ways = torch.linspace(-1, 1, N), torch.linspace(1, -0.5, N)
        ((found[0] * ways[0]).sum() + (found[1] * ways[1]).sum()).backward()
        assert float((weight.grad - turn * apart_from_it).abs().max()) < 1e-5 * float(weight.grad.abs().max())


def test_neither_threads_nor_tokens_beside_a_token_change_its_bits():
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(run(logprob, F32, entropy=True))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    few = run(logprob, F32, entropy=False, count=5)
    assert torch.equal(few["logp"], found[0]["logp"][:5]) and torch.equal(few["entropy"], found[0]["entropy"][:5])


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, targets = given(F32)
    weight.requires_grad_(False)
    low = weight.to(BF16)
    logp, _ = logprob(hidden, weight, targets, computed=low, collecting=True)
    logp.sum().backward()
    assert weight.grad is None and hidden.grad is not None


def test_what_it_is_not_for():
    low = torch.zeros(4, 4, dtype=BF16)
    assert serves(None, None, None) is None and serves(low.float(), None, None) is None
    with pytest.raises(ValueError, match="temperature must be positive"):
        logprob(torch.zeros(2, 4), torch.zeros(4, 4), torch.zeros(2, dtype=torch.long), computed=low, temperature=0.0)
    assert serves(low, torch.zeros(4), None) is None and serves(low, None, 30.0) is None
    assert head_kernel.library() is not None
