"""Products on matrix units against float64, beside their slow twin in torch."""

import ctypes
import mmap
from itertools import pairwise

import pytest
import torch

from plaudit.models import attention_kernel, head_kernel
from plaudit.models.products import Products, Sum, tiled

BF16 = torch.bfloat16
needs_units = pytest.mark.skipif(tiled() is None, reason="needs matrix units (AMX) and a C++ compiler")
SHAPES = [(1, 1, 1), (1, 40, 3), (17, 33, 31), (97, 64, 48), (33, 1, 7), (50, 200, 65), (260, 96, 300), (97, 1500, 48)]
"""(M, K, N): tiles hold 16 rows, 32 numbers of depth and 16 columns; blocks are 32 x 32, in stretches of up to 640 of depth."""
SHARED = [(203, 160, 270), (100, 160, 270), (300, 1536, 900), (500, 64, 20)]
"""Many rows and few, more columns than the threads' caches hold, and fewer than there are threads."""


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(BF16)


def matrix(rows, columns, turned, seed):
    """Numbers whose lines lie together, or whose columns do."""
    return drawn(columns, rows, seed=seed).T if turned else drawn(rows, columns, seed=seed)


def error(found, exact):
    return float((found.double() - exact).abs().max() / exact.abs().max())


@needs_units
@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_product_is_no_further_from_float64_than_torch_is(shape, turned):
    m, k, n = shape
    a, b = matrix(m, k, turned[0], 1), matrix(k, n, turned[1], 2)
    exact = a.double() @ b.double()
    assert error(tiled().total((a, b)), exact) <= 1.1 * error(Products().total((a, b)), exact) + 1e-6


@pytest.mark.parametrize("products", [pytest.param(tiled, marks=needs_units), Products])
def test_a_sum_has_its_parts_its_bias_and_its_scale(products):
    """(1 2) (3 4)^T = 11, (5) (6) = 30; twice their sum and 7 is 89; by rows."""
    one, two = torch.tensor([[1.0, 2], [0, 1]], dtype=BF16), torch.tensor([[5.0], [1]], dtype=BF16)
    pairs = [(one, torch.tensor([[3.0], [4]], dtype=BF16)), (two, torch.tensor([[6.0]], dtype=BF16))]
    found, bare = products().totals([Sum(pairs, torch.tensor([7.0], dtype=BF16), 2.0), Sum(pairs, scale=2.0)])
    assert found.tolist() == [[89.0], [27.0]] and bare.tolist() == [[82.0], [20.0]]


@needs_units
def test_several_sums_in_one_call_are_what_each_is_alone():
    x, u = drawn(77, 96), drawn(77, 16, seed=1)
    sums = [Sum([(x, drawn(n, 96, seed=n).T), (u, drawn(n, 16, seed=n + 1).T)], scale=0.5) for n in (40, 3, 130)]
    for together, alone in zip(tiled().totals(sums), (tiled().totals([one])[0] for one in sums), strict=True):
        assert torch.equal(together, alone)


@needs_units
def test_what_is_laid_out_for_one_sum_is_not_taken_for_another_place_in_the_next():
    """Depths of no whole tile are laid out: u first in one sum, and behind x in the next, by one thread."""
    x, u, before = drawn(77, 40), drawn(77, 16, seed=1), torch.get_num_threads()
    sums = [Sum([(u, drawn(16, 40, seed=2))]), Sum([(x, drawn(40, 40, seed=3)), (u, drawn(16, 40, seed=4))])]
    try:
        torch.set_num_threads(1)
        for together, alone in zip(tiled().totals(sums), (tiled().totals([one])[0] for one in sums), strict=True):
            assert torch.equal(together, alone)
    finally:
        torch.set_num_threads(before)


def before_the_end(x):
    """A copy of a matrix at the end of memory that may be read: a number more, and the process is gone."""
    page, size = mmap.PAGESIZE, x.numel() * x.element_size()
    whole = -(-size // page) * page
    memory = mmap.mmap(-1, whole + page)
    held = torch.frombuffer(memory, dtype=x.dtype)
    end = held.data_ptr() + whole
    assert ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(end), ctypes.c_size_t(page), 0) == 0
    return held[(whole - size) // x.element_size() :][: x.numel()].view(x.shape).copy_(x)


@needs_units
@pytest.mark.parametrize("shape", [(33, 64, 20), (17, 40, 31), (64, 40, 31), (200, 96, 50)], ids=str)
def test_nothing_is_read_behind_the_end_of_a_matrix(shape):
    m, k, n = shape
    a, b = drawn(m, k), drawn(k, n, seed=1)
    found = tiled().total((a, b))
    lines, turned = (before_the_end(a), before_the_end(b)), (before_the_end(a.T).T, before_the_end(b.T).T)
    for left, right in ((lines[0], lines[1]), (lines[0], turned[1]), (turned[0], lines[1]), (turned[0], turned[1])):
        assert torch.equal(tiled().total((left, right)), found)
    assert torch.equal(tiled().linear(lines[0], tiled().lay(turned[1].T)), found)


@needs_units
@pytest.mark.parametrize("shape", SHARED, ids=str)
def test_neither_threads_nor_rows_beside_a_row_change_its_bits(shape):
    m, k, n = shape
    a, b, before = drawn(m, k), drawn(k, n, seed=1), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(tiled().total((a, b)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert error(found[0], a.double() @ b.double()) < 4e-3
    for rows in (slice(0, 1), slice(40, 90), slice(m - 4, m)):
        assert torch.equal(tiled().total((a[rows], b)), found[0][rows])


@needs_units
@pytest.mark.parametrize("rows", [40, 200])
def test_a_deep_product_is_the_sum_of_its_parts_to_the_last_bit(rows):
    """Cut where tiles end, inside a stretch and over two: the same products are added in the same order."""
    a, b = drawn(rows, 1536), drawn(1536, 70, seed=1)
    whole, ends = tiled().total((a, b)), (0, 96, 864, 1536)
    parts = [(a[:, i:j], b[i:j]) for i, j in pairwise(ends)]
    assert torch.equal(tiled().total(*parts), whole)
    assert torch.equal(tiled().total(*[(x.T.contiguous().T, y.T.contiguous().T) for x, y in parts]), whole)


@needs_units
def test_what_is_not_finite_stays_in_its_row():
    a, b = drawn(40, 70), drawn(70, 33, seed=1)
    clean = tiled().total((a, b))
    a[38, 3], a[5, 69] = torch.nan, torch.inf
    found = tiled().total((a, b))
    others = [row for row in range(40) if row not in (5, 38)]
    assert found[38].isnan().all() and not found[5].isfinite().any() and torch.equal(found[others], clean[others])


@needs_units
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, BF16], ids=str)
def test_gradients_are_collected_where_they_stand(dtype):
    """In the parameter's dtype: in float32 without a rounding in between."""
    a, b = drawn(300, 50).T, drawn(300, 70, seed=1)
    parameter = torch.nn.Parameter(torch.zeros(50, 70, dtype=dtype))
    exact = a.double() @ b.double()
    tiled().collect(parameter, a, b)
    assert parameter.grad.dtype == dtype and error(parameter.grad, exact) < (1e-6 if dtype == torch.float32 else 4e-3)
    stood = parameter.grad
    tiled().collect(parameter, a, b)
    assert parameter.grad is stood and error(stood, 2 * exact) < (1e-6 if dtype == torch.float32 else 8e-3)


@needs_units
def test_gradients_that_do_not_lie_together_are_added_to_all_the_same():
    a, b = drawn(30, 8).T, drawn(30, 6, seed=1)
    parameter = torch.nn.Parameter(torch.zeros(8, 6))
    parameter.grad = torch.ones(6, 8).T
    tiled().collect(parameter, a, b)
    assert error(parameter.grad, 1 + a.double() @ b.double()) < 4e-3


@needs_units
def test_other_dtypes_are_left_to_torch():
    a, b = drawn(5, 6).double(), drawn(6, 7).double()
    assert torch.equal(tiled().total((a, b)), a @ b)


@needs_units
def test_where_products_have_matrix_units_attention_and_log_probabilities_have_them_too():
    """A source that does not compile is told of and done without: here it must compile."""
    assert attention_kernel.library() is not None and head_kernel.library() is not None
