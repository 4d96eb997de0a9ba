"""attention.cpp against the plain formula in float64, where its error is at most twice that of its slow twin in torch."""

import pytest
import torch
from torch.nn.functional import pad

from plaudit.models import passes
from plaudit.models.attention import IN_TORCH, Grid, attend_rows
from plaudit.models.attention_kernel import library

BF16, F64 = torch.bfloat16, torch.float64
SHAPES = [
    ([97, 40, 1, 128, 33], 9, 3, 64),  # (tokens of each row, query heads, key-value heads, size)
    ([31, 17, 5], 2, 2, 32),
    ([70, 300], 2, 1, 128),
    ([64, 15, 49], 3, 1, 96),
]
NAMES = ("out", "grad_query", "grad_key", "grad_value")
pytestmark = pytest.mark.skipif(library() is None, reason="needs a processor with matrix units (AMX) and a C++ compiler")


def compiled():
    return passes.passes_for(torch.device("cpu"), BF16)


def laid(lengths):
    """Rows end to end: the token at each place [L, W], -1 for none."""
    ends = torch.tensor(lengths).cumsum(0).tolist()
    rows = [torch.arange(end - length, end) for length, end in zip(lengths, ends, strict=True)]
    return torch.stack([pad(row, (0, max(lengths) - len(row)), value=-1) for row in rows])


def given(tokens, heads, kv_heads, size, seed=0):
    """query, scaled, key, value, and what comes back for the output."""
    g = torch.Generator().manual_seed(seed)
    made = [torch.randn(tokens, count, size, generator=g) for count in (heads, kv_heads, kv_heads, heads)]
    made[0] *= 2 * size**-0.5
    return [x.to(BF16) for x in made]


def run(given, places, by, kind="AttendBackward"):
    """Output and gradients, by the kernel, or by torch."""
    query, key, value = (x.clone().requires_grad_() for x in given[:3])
    out = attend_rows(query, key, value, Grid(places), by)
    assert type(out.grad_fn).__name__ == kind
    out.backward(given[3])
    return out.detach(), query.grad, key.grad, value.grad


def twin(given, places):
    return run(given, places, IN_TORCH, "_AttendBackward")


def plain(given, places):
    """softmax(Q K^T) V of each row's tokens by themselves, in float64; a token's output is that of its first place."""
    query, key, value = (x.double().requires_grad_() for x in given[:3])
    group, outs, found = query.shape[1] // key.shape[1], [], set()
    for line in places:
        row = line[line >= 0]
        k, v = (x[row].repeat_interleave(group, 1) for x in (key, value))
        scores = torch.einsum("thd,shd->hts", query[row], k)
        seen = torch.ones(len(row), len(row), dtype=torch.bool).tril()
        out = torch.einsum("hts,shd->thd", scores.masked_fill(~seen, float("-inf")).softmax(-1), v)
        outs += [(int(token), out[place]) for place, token in enumerate(row) if int(token) not in found]
        found.update(row.tolist())
    out = torch.stack([x for _, x in sorted(outs, key=lambda pair: pair[0])])
    out.backward(given[3].double())
    return out.detach(), query.grad, key.grad, value.grad


def agrees(given, places):
    wanted = plain(given, places)
    for name, ours, torchs, exact in zip(NAMES, run(given, places, compiled()), twin(given, places), wanted, strict=True):
        error, allowed = ((x.double() - exact).norm() / exact.norm() for x in (ours, torchs))
        assert error <= 2 * allowed, name
        assert ours.dtype == BF16


@pytest.mark.parametrize(("lengths", "heads", "kv_heads", "size"), SHAPES, ids=str)
def test_the_error_is_at_most_twice_that_of_torch(lengths, heads, kv_heads, size):
    agrees(given(sum(lengths), heads, kv_heads, size), laid(lengths))


def test_large_scores_are_no_trouble():
    n = given(80, 2, 1, 64)
    n[0] *= 100  # scores of some hundreds: weights of 1 and 0
    agrees(n, laid([50, 30]))
    out = run(n, laid([50, 30]), compiled())[0]
    assert out.isfinite().all()


def test_one_token_sees_itself():
    n = given(1, 2, 2, 32)
    out, grad_query, grad_key, grad_value = run(n, laid([1]), compiled())
    assert torch.equal(out, n[2]) and torch.equal(grad_value, n[3])
    assert max(grad_query.abs().max(), grad_key.abs().max()) < 1e-4


def test_tokens_in_several_lines():
    """Three answers behind one prompt of 40 tokens, two behind one of 32, and a row that stands twice."""
    prompt, other = torch.arange(40), torch.arange(100, 132)
    rows = [torch.cat([prompt, torch.arange(a, b)]) for a, b in ((40, 45), (45, 90), (90, 100))]
    rows += [torch.cat([other, torch.arange(a, b)]) for a, b in ((132, 133), (133, 150))]
    rows += [torch.arange(150, 160)] * 2
    places = torch.stack([pad(row, (0, 85 - len(row)), value=-1) for row in rows])
    agrees(given(160, 6, 2, 64), places)
    of_one = run([x[:45] for x in given(160, 6, 2, 64)], laid([45]), compiled())[0]
    assert torch.equal(run(given(160, 6, 2, 64), places, compiled())[0][:45], of_one)


def test_tokens_may_lie_anywhere():
    n, places = given(97, 3, 1, 64), laid([60, 37])
    order = torch.randperm(97, generator=torch.Generator().manual_seed(1))
    moved = torch.where(places >= 0, order.argsort()[places], -1)
    for name, a, b in zip(NAMES, run(n, places, compiled()), run([x[order] for x in n], moved, compiled()), strict=True):
        assert torch.equal(a[order], b), name


def test_the_number_of_threads_changes_no_bit():
    before, (lengths, *shape) = torch.get_num_threads(), SHAPES[0]
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(run(given(sum(lengths), *shape), laid(lengths), compiled()))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))


def test_the_rows_beside_change_no_bit():
    lengths, *shape = SHAPES[0]
    n = given(sum(lengths), *shape)
    together = run(n, laid(lengths), compiled())
    at = 0
    for length in lengths:
        alone = run([x[at : at + length] for x in n], laid([length]), compiled())
        for name, a, b in zip(NAMES, alone, together, strict=True):
            assert torch.equal(a, b[at : at + length]), (name, length)
        at += length


@pytest.mark.parametrize("which", range(4), ids=("query", "key", "value", "grad"))
@pytest.mark.parametrize("number", [float("nan"), float("inf")], ids=str)
def test_a_number_that_is_none_stays_in_its_row_and_is_seen(which, number):
    n = given(90, 3, 1, 64)
    clean = run(n, laid([20, 40, 30]), compiled())
    n[which][25, 0, 7] = number
    found = run(n, laid([20, 40, 30]), compiled())
    assert any(x[20:60].isfinite().logical_not().any() for x in found)
    for name, a, b in zip(NAMES, clean, found, strict=True):
        assert torch.equal(a[:20], b[:20]) and torch.equal(a[60:], b[60:]), name


def test_what_it_does_not_serve_is_done_in_torch():
    n = given(20, 2, 1, 64)
    twin([x.float() for x in n], laid([20]))
    run([x.float() for x in n], laid([20]), compiled(), "_AttendBackward")
    run([x[..., :40] for x in n], laid([20]), compiled(), "_AttendBackward")
    masked = Grid(laid([20]), torch.ones(1, 20, 20, dtype=torch.bool).tril())
    assert type(attend_rows(*(x.requires_grad_() for x in n[:3]), masked, compiled()).grad_fn).__name__ == "_AttendBackward"


def test_a_wrong_number_of_tokens_is_refused():
    with pytest.raises(ValueError, match="21 tokens, of which 20 stand in lines"):
        run(given(21, 2, 1, 64), laid([20]), compiled())
