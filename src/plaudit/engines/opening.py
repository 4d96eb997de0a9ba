"""An engine by the name of a model: what `generate`, `chat`, `evaluate` and the demo speak with."""

from __future__ import annotations

from pathlib import Path

import torch

from plaudit.engines.torch_engine import TorchEngine, end_token_ids
from plaudit.models.adapter_folder import is_adapter, open_adapter
from plaudit.models.load import load
from plaudit.models.machine import device, fast_bf16


def model_of(name: str | Path) -> str:
    """The model that `name` means: the `model` folder of a run given by its folder or id, else `name` itself.

    A demo's folder means its last model, the one that PPO made.
    """
    for folder in (Path(name), Path("runs") / name):
        for inside in (folder / "model", folder / "ppo" / "model"):
            if inside.is_dir():
                return str(inside)
    return str(name)


def open_engine(name: str | Path, *, slots: int = 64, bf16: bool | None = None) -> TorchEngine:
    """Load a run's or any other model, or an adapter on its base, and put it into an engine.

    bf16 where the machine does it fast, unless told otherwise.
    """
    chosen, where = model_of(name), device()
    half = fast_bf16(where) if bf16 is None else bf16
    if is_adapter(Path(chosen)):
        base, adapter = open_adapter(Path(chosen))
        engine = TorchEngine(
            base.model.config,
            base.tokenizer,
            slots=slots,
            dtype=torch.bfloat16 if half else base.model.dtype,
            device=where,
            eos_token_ids=end_token_ids(base.model),
        )
        engine.load(base.merged(adapter), f"{chosen}@{base.digest[:8]}")
        return engine
    loaded = load(chosen)
    dtype = torch.bfloat16 if half else loaded.model.dtype
    return TorchEngine.from_model(
        loaded.model, loaded.tokenizer, version=f"{loaded.name}@{loaded.digest[:8]}", slots=slots, dtype=dtype, device=where
    )
