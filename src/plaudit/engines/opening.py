"""An engine by the name of a model: what `generate`, `chat`, `evaluate` and the demo speak with."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import torch

from plaudit.engines.decoder import cannot
from plaudit.engines.http import HttpEngine
from plaudit.engines.torch_engine import TorchEngine, end_token_ids
from plaudit.engines.transformers_engine import TransformersEngine
from plaudit.models.adapter_folder import is_adapter, open_adapter
from plaudit.models.families import context
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


LocalEngine = TorchEngine | TransformersEngine


def engine_for(model: Any, tokenizer: Any, *, max_length: int | None = None, **options: Any) -> LocalEngine:
    """The engine that can generate with models like this one, without weights yet; `options` are TorchEngine's.

    The torch engine where its decoder knows the family and its options, else transformers' own generation, which is said once.
    """
    options = {"dtype": model.dtype, "device": model.device, "eos_token_ids": end_token_ids(model), **options}
    reason = cannot(model.config, context(model.config) if max_length is None else max_length)
    if reason is None:
        return TorchEngine(model.config, tokenizer, max_length=max_length, **options)
    _say(f"generation is slower with this model: {reason}, so transformers' own generate is used.")
    return TransformersEngine(model, tokenizer, max_length=max_length, **options)


@cache
def _say(sentence: str) -> None:
    """To stderr unless the caller has set up logging; each sentence once in a process."""
    logging.getLogger("plaudit").warning(sentence)


def open_engine(name: str | Path, *, slots: int = 64, bf16: bool | None = None) -> LocalEngine | HttpEngine:
    """Load a run's or any other model, or an adapter on its base, and put it into an engine.

    bf16 where the machine does it fast, unless told otherwise.

    `http://host:port/v1#MODEL` is a model of an OpenAI-compatible server; without #MODEL the only one that it has.
    """
    if str(name).startswith(("http://", "https://")):
        url, _, model = str(name).partition("#")
        return HttpEngine(url, model or None)
    chosen, where = model_of(name), device()
    half = fast_bf16(where) if bf16 is None else bf16
    if is_adapter(Path(chosen)):
        base, adapter = open_adapter(Path(chosen))
        model, tokenizer, version = base.model, base.tokenizer, f"{chosen}@{base.digest[:8]}"
        weights = base.merged(adapter)
    else:
        loaded = load(chosen)
        model, tokenizer, version = loaded.model, loaded.tokenizer, f"{loaded.name}@{loaded.digest[:8]}"
        weights = loaded.model.state_dict().items()
    engine = engine_for(model, tokenizer, slots=slots, dtype=torch.bfloat16 if half else model.dtype, device=where)
    engine.load(weights, version)
    return engine
