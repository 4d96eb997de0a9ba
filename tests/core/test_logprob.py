import math

import pytest
import torch

from plaudit.core.logprob import head_logprob, token_logprob

F64 = torch.float64


def drawn(count=7, width=5, vocabulary=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, width, generator=generator, dtype=F64)
    weight = torch.randn(vocabulary, width, generator=generator, dtype=F64)
    bias = torch.randn(vocabulary, generator=generator, dtype=F64)
    return hidden, weight, bias, torch.randint(vocabulary, (count,), generator=generator)


def test_two_logits_by_hand():
    """Logits (log 3, 0): probabilities 3/4 and 1/4."""
    logits = torch.tensor([[math.log(3), 0.0]] * 2, dtype=F64)
    logp, entropy = token_logprob(logits, torch.tensor([0, 1]))
    wanted = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert logp.tolist() == pytest.approx([math.log(0.75), math.log(0.25)])
    assert entropy.tolist() == pytest.approx([wanted, wanted])
    hidden, weight = torch.ones(2, 1, dtype=F64), torch.tensor([[math.log(3)], [0.0]], dtype=F64)
    logp, entropy = head_logprob(hidden, weight, torch.tensor([0, 1]))
    assert logp.tolist() == pytest.approx([math.log(0.75), math.log(0.25)]) and entropy.tolist() == pytest.approx([wanted] * 2)


def test_temperature_by_hand():
    """Temperature 1/2 squares the odds: 9 to 1."""
    hidden, weight = torch.ones(1, 1, dtype=F64), torch.tensor([[math.log(3)], [0.0]], dtype=F64)
    assert head_logprob(hidden, weight, torch.tensor([0]), temperature=0.5)[0].tolist() == pytest.approx([math.log(0.9)])


def test_a_softcap_by_hand():
    """A logit of log 3 bounded by log 3: log 3 * tanh(1); the other is 0."""
    hidden, weight = torch.ones(1, 1, dtype=F64), torch.tensor([[math.log(3)], [0.0]], dtype=F64)
    logp, _ = head_logprob(hidden, weight, torch.tensor([0]), softcap=math.log(3))
    assert logp.tolist() == pytest.approx([-math.log(1 + 3 ** -math.tanh(1))])


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("temperature", [1.0, 0.7, 2.0])
@pytest.mark.parametrize("biased", [False, True])
def test_values_and_gradients_are_those_of_the_plain_form(biased, temperature, softcap):
    hidden, weight, bias, targets = drawn()
    bias = bias if biased else None
    generator = torch.Generator().manual_seed(9)
    for_logp, for_entropy = torch.randn(2, 7, generator=generator, dtype=F64)
    found = []
    for lean in (True, False):
        inputs = [x.clone().requires_grad_() for x in (hidden, weight, bias) if x is not None]
        h, w, b = (*inputs, None)[:3]
        if lean:
            logp, entropy = head_logprob(h, w, targets, bias=b, temperature=temperature, softcap=softcap, chunk=3)
        else:
            logits = torch.nn.functional.linear(h, w, b)
            logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
            logp, entropy = token_logprob(logits, targets, temperature)
        (logp * for_logp + entropy * for_entropy).sum().backward()
        found.append([logp.detach(), entropy.detach(), *(x.grad for x in inputs)])
    assert all(torch.allclose(a, b, rtol=1e-11, atol=1e-13) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("with_entropy", [False, True])
@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_gradients_agree_with_finite_differences(chunk, with_entropy):
    hidden, weight, bias, targets = drawn(4, 3, 6)
    inputs = tuple(x.requires_grad_() for x in (hidden, weight, bias))

    def function(h, w, b):
        out = head_logprob(h, w, targets, bias=b, temperature=0.8, chunk=chunk, with_entropy=with_entropy)
        return out if with_entropy else out[0]

    assert torch.autograd.gradcheck(function, inputs)


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, _, targets = drawn()
    logp, _ = head_logprob(hidden.requires_grad_(), weight, targets)
    logp.sum().backward()
    assert hidden.grad is not None and weight.grad is None


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 8])
def test_chunks_change_nothing(chunk):
    hidden, weight, bias, targets = drawn()
    for mine, whole in zip(
        head_logprob(hidden, weight, targets, bias=bias, chunk=chunk),
        head_logprob(hidden, weight, targets, bias=bias, chunk=99),
        strict=True,
    ):
        assert torch.allclose(mine, whole, rtol=1e-14)


def test_without_entropy_it_is_0_and_cannot_be_trained():
    hidden, weight, _, targets = drawn()
    logp, entropy = head_logprob(hidden.requires_grad_(), weight, targets, with_entropy=False)
    assert not entropy.any() and not entropy.requires_grad
    assert torch.equal(logp, head_logprob(hidden, weight, targets)[0])


def test_half_precision_is_summed_in_float32():
    hidden, weight, _, targets = drawn(50, 16, 400)
    low = [x.to(torch.bfloat16) for x in (hidden, weight)]
    logp, entropy = head_logprob(*low, targets)
    exact = token_logprob((low[0].double() @ low[1].double().T), targets)[0]
    assert logp.dtype == entropy.dtype == torch.float32
    assert (logp - exact).abs().mean() < 0.02


def test_logits_of_any_size_stay_finite():
    hidden = torch.tensor([[1.0]])
    weight = torch.tensor([[3e4], [-3e4], [0.0]], requires_grad=True)
    logp, entropy = head_logprob(hidden, weight, torch.tensor([1]))
    (logp + entropy).sum().backward()
    assert logp.tolist() == [-6e4] and entropy.tolist() == [0.0] and weight.grad.tolist() == [[-1.0], [1.0], [0.0]]


def test_no_tokens_are_no_error():
    hidden, weight, _, _ = drawn()
    logp, entropy = head_logprob(hidden[:0].requires_grad_(), weight, torch.zeros(0, dtype=torch.long))
    (logp.sum() + entropy.sum()).backward()
    assert logp.shape == (0,)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    hidden, weight, _, targets = drawn()
    with pytest.raises(ValueError, match="temperature must be positive"):
        head_logprob(hidden, weight, targets, temperature=temperature)
