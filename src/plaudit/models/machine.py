"""What this machine does well, found out by looking: device, and whether bf16 pays."""

from __future__ import annotations

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
