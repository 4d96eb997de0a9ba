"""What several rooms' tests share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import postgres_server
from nursery import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Fresh processes with plaudit already imported, to be killed at will."""
    with Nursery() as warm:
        yield warm


@pytest.fixture(scope="session")
def databases() -> Iterator[Callable[[], str]]:
    """Makes new, empty PostgreSQL databases; skipped where no server can be started."""
    reason = postgres_server.unavailable()
    if reason:
        pytest.skip(reason)
    number = itertools.count()
    with postgres_server.serving() as address:
        yield lambda: postgres_server.database(address, f"store_{next(number)}")


@pytest.fixture
def exact_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    """RMSNorm of float64 in float64, ours and transformers': both round to float32, and gradients then differ by 1e-8."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.mistral.modeling_mistral import MistralRMSNorm
    from transformers.models.qwen2.modeling_qwen2 import Qwen2RMSNorm

    from plaudit.models import passes

    def theirs(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def ours(x: torch.Tensor, eps: float, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        inverse = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)
        return (x * inverse).to(dtype), inverse

    for norm in (LlamaRMSNorm, MistralRMSNorm, Qwen2RMSNorm):
        monkeypatch.setattr(norm, "forward", theirs)
    monkeypatch.setattr(passes, "_normalised", ours)
