"""What every kind of kernels is held to: the shapes, the numbers, and how near float64 it must come."""

from types import SimpleNamespace

import torch

from plaudit.engines.kernels import Kernels, Where
from plaudit.engines.kv_cache import KVCache
from plaudit.engines.weights import Norm

TYPES = (torch.float64, torch.float32, torch.bfloat16)
SHAPES = {
    "smollm": {"heads": 9, "kv_heads": 3, "head_dim": 64},
    "five on one, size 128": {"heads": 5, "kv_heads": 1, "head_dim": 128},
    "six on one": {"heads": 6, "kv_heads": 1, "head_dim": 64},
    "odd size, half turned": {"heads": 2, "kv_heads": 2, "head_dim": 12, "turned": 6},
    "window": {"heads": 2, "kv_heads": 1, "head_dim": 64, "windows": (7,)},
    "softcap and scale": {"heads": 4, "kv_heads": 2, "head_dim": 64, "attention_softcap": 2.0, "scales": (0.3,)},
    "no angles": {"heads": 4, "kv_heads": 1, "head_dim": 16, "turned": 0},
}


def shape(**options):
    """An architecture with these options, as far as kernels ask."""
    plain = {
        "activation": "silu",
        "eps": 1e-5,
        "windows": (None,),
        "scales": (None,),
        "attention_softcap": None,
        "turned": None,
    }
    family = SimpleNamespace(layer_norm=False, unit_offset=options.pop("unit_offset", False))
    return SimpleNamespace(**{**plain, "family": family, "heads": 1, "kv_heads": 1, "head_dim": 8, **options})


def numbers(*size, seed=0):
    """Normal random numbers in float64."""
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check(compute, dtype):
    """`compute(dtype, whether by the fast kernels) -> tensor`: fast ones against float64, as near as the law asks."""
    exact = compute(torch.float64, False).double()
    found = compute(dtype, True).double()
    error = (found - exact).abs().max()
    if dtype == torch.float64:
        assert error < 1e-10
    elif dtype == torch.float32:
        assert error < 1e-4 * exact.abs().max()
    else:
        assert error <= 2 * (compute(dtype, False).double() - exact).abs().max()


def attended(made, dtype, kernels, device="cpu", rows=5, length=40, step=9):
    """Attention of one token for each of `rows` slots that hold 1, 10, 19 ... tokens already; and the cache."""
    heads, kv_heads, size = made.heads, made.kv_heads, made.head_dim
    cache = KVCache(1, kv_heads, size, dtype, torch.device(device))
    cache.reserve(5, length)
    cache.keys.copy_(numbers(*cache.keys.shape, seed=1))
    cache.values.copy_(numbers(*cache.values.shape, seed=2))
    positions = torch.arange(rows) * step % length
    turned = size if made.turned is None else made.turned
    angle = (positions[:, None] * torch.linspace(1, 0.1, max(1, turned // 2), dtype=torch.float64)).repeat(1, 2)
    angles = (angle.cos().to(device, dtype), angle.sin().to(device, dtype)) if turned else None
    qkv = numbers(5, heads + 2 * kv_heads, size, seed=3)[:rows].to(device, dtype)
    where = Where(positions.to(device), int(positions.max()) + 1)
    return kernels.attend(0, qkv, angles, where, cache).cpu(), cache


def summed_and_normed(made, dtype, kernels, device="cpu"):
    """The norm of x + more; the sum is compared here."""
    x, more, weight = numbers(7, 83), numbers(7, 83, seed=1), numbers(83, seed=2)
    stream = x.to(device, kernels.stream, copy=True)
    total, read = kernels.add_norm(stream, more.to(device, dtype), Norm(weight.to(device, dtype), None))
    torch.testing.assert_close(total.double().cpu(), x + more, rtol=1e-2, atol=2e-2)
    assert read.dtype == dtype
    return read.cpu()


def norm_of_sum(offset):
    """The same by its formula, in float64: torch's own kernels take float32 here."""
    y = numbers(7, 83) + numbers(7, 83, seed=1)
    return y / (y.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * (numbers(83, seed=2) + offset)


def torchs(made, dtype):
    """The slow twin."""
    return Kernels(made, dtype)
