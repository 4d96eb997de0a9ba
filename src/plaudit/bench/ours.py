"""Our side, in a process of its own: `python -m plaudit.bench.ours WORK RESULT`.

The result has, for each measured step, its seconds and its tokens, and its loss where it has one. What a user would call is
called: `training.run.train`, and an engine's `generate`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from plaudit.bench.work import ONLINE, Work
from plaudit.config import load as load_config
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.load import load
from plaudit.models.machine import device, fast_bf16
from plaudit.schema import Prompt, Sampling
from plaudit.training.loop import Pruned
from plaudit.training.options import RolloutConfig
from plaudit.training.progress import Silent
from plaudit.training.run import sections, train

SIDE = Path(__file__).parent / "peers" / "side.py"
"""Where the reward function is that both sides call."""


def main(work: Work, place: Path) -> dict[str, Any]:
    """Run the work; {"version", "dtype", "seconds", "tokens", "losses", "device_bytes"}."""
    from plaudit import __version__

    half = fast_bf16(device()) if work.dtype in ("auto", "default") else work.dtype == "bf16"
    found = rollouts(work, half) if work.name == "rollout" else steps(work, half, place)
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return {"version": __version__, "dtype": "bf16" if half else "fp32", **found, "device_bytes": peak}


def rollouts(work: Work, half: bool) -> dict[str, Any]:
    """Answers to all prompts by the engine, each of the length that it is given; texts in, texts out."""
    loaded = load(work.folder)
    where = device()
    slots = load_config([RolloutConfig], None, work.words)[RolloutConfig].rollout_slots
    dtype = torch.bfloat16 if half else torch.float32
    engine = TorchEngine(loaded.model.config, loaded.tokenizer, dtype=dtype, slots=slots, device=where)
    engine.load(loaded.model.state_dict().items(), "bench")
    del loaded
    prompts = [Prompt(text=row["prompt"]) for row in work.rows]
    seconds, tokens = [], []
    for number in range(work.warmup + work.steps):
        clock = time.perf_counter()
        answers = engine.generate(prompts, 1, Sampling(max(work.new_tokens), seed=number), limits=work.new_tokens)
        seconds.append(time.perf_counter() - clock)
        tokens.append(sum(len(answer.tokens) for answer in answers))
    return {"seconds": seconds[work.warmup :], "tokens": tokens[work.warmup :], "losses": []}


def settings(work: Work, half: bool, place: Path) -> dict[str, Any]:
    """The options of `plaudit train` for this work; what the peer's script sets has the same value there."""
    data = place / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in work.rows), encoding="utf-8")
    chosen: dict[str, Any] = {
        "model_name_or_path": work.folder,
        "train_file": str(data),
        "output_dir": str(place / "run"),
        "eval_fraction": 0.0,
        "eval_on_start": False,
        "max_steps": work.warmup + work.steps,
        "per_device_train_batch_size": work.batch,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "bf16": half,
        "use_peft": work.peft,
        "seed": work.seed,
        "share_prompts": work.name in ("reward", "dpo", "grpo"),
    }
    if work.name in ONLINE:
        chosen |= {"max_completion_length": max(work.new_tokens), "num_generations": work.siblings}
        chosen["gradient_accumulation_steps"] = max(1, len(work.rows) // work.batch)
        chosen["per_device_train_batch_size"] = min(work.batch, len(work.rows))
    else:
        chosen["gradient_accumulation_steps"] = work.accumulation
    if work.name == "ppo":
        chosen |= {"reward_model_path": work.reward_adapter or work.reward, "num_ppo_epochs": work.epochs}
    if work.name == "grpo":
        chosen["reward_funcs"] = [f"{SIDE}:variety"]
    return chosen


def steps(work: Work, half: bool, place: Path) -> dict[str, Any]:
    """Optimiser steps by `train`; the run ends with the last one, before anything is saved."""
    classes, defaults = sections(work.name)
    options = load_config(classes, None, work.words, defaults | settings(work, half, place))
    last, seconds, tokens, losses = 0.0, [], [], []

    def observe(step: int, metrics: Mapping[str, float]) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds.append(now - last if last else metrics["time/step"])
        last = now
        tokens.append(metrics["num_tokens"])
        losses.append(metrics.get("loss"))
        if step == work.warmup + work.steps:
            raise Pruned

    with suppress(Pruned):
        train(work.name, options, progress=Silent(), observe=observe)
    return {"seconds": seconds[work.warmup :], "tokens": tokens[work.warmup :], "losses": losses[work.warmup :]}


if __name__ == "__main__":
    path = Path(sys.argv[2])
    wanted = Work(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    path.write_text(json.dumps(main(wanted, path.parent)), encoding="utf-8")
