"""The Triton kernels against torch's and against formulas written out, and a recorded step against the step itself.

On a GPU; with TRITON_INTERPRET=1 and triton installed the kernels are interpreted on any machine, slowly.
"""

import os

import pytest
import torch
from kernel_cases import SHAPES, attended, check, norm_of_sum, numbers, shape, summed_and_normed, torchs

pytest.importorskip("triton")
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytestmark = pytest.mark.skipif(not (torch.cuda.is_available() or INTERPRETED), reason="needs a CUDA device")
DEVICE = "cpu" if INTERPRETED else "cuda"
TYPES = (torch.float32,) if INTERPRETED else (torch.float32, torch.bfloat16)
"""The interpreter multiplies the bits of bfloat16 numbers, not the numbers."""


def kernels(made, dtype, fast):
    if not fast:
        return torchs(made, dtype), "cpu"
    from plaudit.engines.triton_kernels import Triton

    return Triton(made, dtype), DEVICE


@pytest.mark.parametrize("length", [40, 400], ids=["short", "over many blocks"])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("options", SHAPES.values(), ids=SHAPES)
def test_attention_and_what_it_writes_into_the_cache_are_torchs(options, dtype, length):
    made = shape(**options)

    def run(dtype, fast):
        return attended(made, dtype, *kernels(made, dtype, fast), length=length, step=length // 4)

    check(lambda dtype, fast: run(dtype, fast)[0], dtype)
    ours, slow = (run(dtype, fast)[1] for fast in (True, False))
    rough = 1e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(ours.keys.cpu(), slow.keys, rtol=rough, atol=rough)
    assert torch.equal(ours.values.cpu(), slow.values)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("offset", [False, True], ids=["weight", "one plus weight"])
def test_norm_of_a_sum_is_the_formula(offset, dtype):
    made = shape(unit_offset=offset)

    def compute(dtype, fast):
        if dtype == torch.float64:
            return norm_of_sum(offset)
        return summed_and_normed(made, dtype, *kernels(made, dtype, fast))

    check(compute, dtype)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("inner", [47, 1500])
def test_gate_is_silu_of_one_half_times_the_other(inner, dtype):
    y = numbers(6, 2 * inner) * 20

    def compute(dtype, fast):
        made, device = kernels(shape(), dtype, fast)
        return made.gate(y.to(device, dtype)).cpu()

    check(compute, dtype)
