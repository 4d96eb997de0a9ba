"""What this machine does well, found out by looking: device, and whether bf16 pays."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch


def device() -> torch.device:
    """cuda where there is one, else the CPU. Apple's mps is left out: it has no float64, which sampling needs."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_bf16(where: torch.device) -> bool:
    """True where bf16 matrix products have units of their own: tensor cores, AMX, or AVX512-BF16."""
    if where.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if where.type != "cpu":
        return False
    return any(
        bool(getattr(torch.cpu, probe, lambda: False)()) for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    )


def trim() -> None:
    """Give freed memory back to the system, where the C library (glibc) keeps it for what is asked for next.

    It costs the time to take it again, a quarter of a second for each gigabyte: for moments at which much lies idle.
    """
    given_back = _malloc_trim()
    if given_back is not None:
        given_back(0)


@cache
def _malloc_trim() -> Any:
    """glibc's function; None where there is another C library."""
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)
    except (OSError, TypeError):  # Windows has no such handle
        return None
