"""`train(verb, config)`: from options to a trained model in a folder. Every verb takes the same road."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
import yaml

from plaudit.algorithms.base import Algorithm
from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.algorithms.reward import RewardModel, RewardModelConfig
from plaudit.algorithms.sft import SFT, SFTConfig
from plaudit.config import Resolved
from plaudit.data import readers
from plaudit.data.check import check
from plaudit.data.collate import collate_demonstrations, collate_rankings
from plaudit.data.encode import encode_demonstrations, encode_rankings, fit_prompts
from plaudit.data.split import split_by_prompt
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.base import AdapterConfig
from plaudit.models.folder import save_model
from plaudit.models.network import Network
from plaudit.models.scorer import Scorer, save_reward
from plaudit.rewards.mix import RewardConfig, mix
from plaudit.rewards.model import ModelReward
from plaudit.schema import JSON, UserError
from plaudit.training import place
from plaudit.training.assemble import Assembly, ModelConfig
from plaudit.training.feed import Feed
from plaudit.training.folder import RunFolder, write_text
from plaudit.training.learner import Learner
from plaudit.training.loop import Best, Loop
from plaudit.training.options import DataConfig, OptimizerConfig, RolloutConfig, TrainingConfig
from plaudit.training.progress import Progress, shown
from plaudit.training.sources import Rollouts, Rows, Source
from plaudit.training.trace import traces

SHARED: tuple[type, ...] = (ModelConfig, AdapterConfig, DataConfig, TrainingConfig, OptimizerConfig)
VERBS: dict[str, tuple[type, ...]] = {
    "sft": (*SHARED, SFTConfig),
    "reward": (*SHARED, RewardModelConfig),
    "ppo": (*SHARED, RolloutConfig, RewardConfig, PPOConfig),
}
LORA_RATE = "lora_learning_rate"


def sections(verb: str) -> tuple[list[type], dict[str, Any]]:
    """The option classes of a verb, the algorithm's last, and its own defaults. UserError for an unknown verb."""
    if verb not in VERBS:
        raise UserError(f"there is no algorithm {verb!r} to train with; there are {', '.join(VERBS)}")
    chosen = VERBS[verb]
    return list(chosen), {k: v for k, v in chosen[-1].defaults.items() if k not in ("learning_rate", LORA_RATE)}  # type: ignore[attr-defined]


def train(verb: str, resolved: Resolved, *, resume: bool = False, progress: Progress | None = None) -> JSON:
    """Train and save; returns what stands in the run's summary.json. UserError for whatever the user can mend."""
    if progress is None:
        with shown() as bar:
            return train(verb, resolved, resume=resume, progress=bar)
    started = time.perf_counter()
    options = resolved[TrainingConfig]
    place.check(options.place)
    path = Path(options.output_dir)
    resolved = _settled(verb, resolved, path if resume else None)
    folder = RunFolder(path, resolved.flat(), resume=resume)
    loop = _build(verb, resolved, folder, progress)
    if resume:
        loop.resume()
    status = loop.run()
    summary = {"verb": verb, "status": status, "steps": loop.step, "refused_steps": loop.refused_total, "output_dir": str(path)}
    if status not in ("finished", "early"):
        progress.tell(f"stopped after step {loop.step}; go on with --resume")
        return {**summary, "seconds": time.perf_counter() - started}
    if options.load_best_model_at_end:
        loop.take_best()
    if isinstance(loop.source, Rollouts):
        write_text(path / "trace.json", json.dumps(traces(loop.source, loop.learner, loop.step), ensure_ascii=False))
    model = _save_model(verb, loop, path / "model")
    if loop.best.value is not None:
        summary |= {"best": {"step": loop.best.step, loop.best.metric: loop.best.value}}
    summary |= {"model": str(model), "seconds": time.perf_counter() - started}
    folder.finish(summary)
    return summary


def _settled(verb: str, resolved: Resolved, resumed: Path | None) -> Resolved:
    """Options with everything that was left to us written out: learning rate by the kind of tuning, bf16 by the machine.

    A resumed run takes what was found then, so that it computes the same on a machine that would choose otherwise.
    """
    from plaudit.training.assemble import precision

    saved: dict[str, Any] = {}
    if resumed is not None and (resumed / "config.yaml").exists():
        saved = yaml.safe_load((resumed / "config.yaml").read_text())
    changes: dict[str, Any] = {}
    defaults = VERBS[verb][-1].defaults  # type: ignore[attr-defined]
    if resolved[OptimizerConfig].learning_rate is None:
        changes["learning_rate"] = defaults[LORA_RATE if resolved[AdapterConfig].use_peft else "learning_rate"]
    if resolved[TrainingConfig].bf16 == "auto":
        changes["bf16"] = saved.get("bf16", precision(resolved[TrainingConfig]).bf16)
    return resolved.replace(**changes)


def _build(verb: str, resolved: Resolved, folder: RunFolder, progress: Progress) -> Loop:
    options, assembly = (
        resolved[TrainingConfig],
        Assembly(resolved[ModelConfig], resolved[AdapterConfig], resolved[TrainingConfig]),
    )
    portion = options.per_device_train_batch_size * options.gradient_accumulation_steps
    builder = {"sft": _sft, "reward": _reward, "ppo": _ppo}[verb]
    algorithm, networks, source, best, figures = builder(resolved, assembly, portion, folder, progress)
    steps = options.max_steps or source.feed.steps(options.num_train_epochs)
    learner = Learner(
        algorithm,
        networks,
        resolved[OptimizerConfig],
        total_steps=steps,
        micro_batch=options.per_device_train_batch_size,
        reference=assembly.reference() if algorithm.reference else None,
        seed=options.seed,
    )
    if isinstance(source, Rollouts):
        source.max_steps = steps
    return Loop(learner, source, folder, options, best, steps, assembly.precision.bf16, progress, figures)


Built = tuple[Algorithm, dict[str, Network], Source, Best, tuple[str, ...]]


def _sft(resolved: Resolved, assembly: Assembly, portion: int, folder: RunFolder, progress: Progress) -> Built:
    data, options = resolved[DataConfig], resolved[TrainingConfig]
    train_items, held_out = _items(readers.read_demonstrations, data, options.seed, folder, progress)
    rows, eval_rows = (
        _told(
            encode_demonstrations(assembly.tokenizer, items, max_length=data.max_length, truncation=data.truncation),
            folder,
            progress,
        )
        if items
        else []
        for items in (train_items, held_out)
    )
    source = Rows(
        rows, eval_rows, collate_demonstrations, Feed(len(rows), portion, options.seed), options.per_device_eval_batch_size
    )
    return SFT(resolved[SFTConfig]), {"policy": assembly.trained("policy")}, source, Best("eval_loss", False), ("loss",)


def _reward(resolved: Resolved, assembly: Assembly, portion: int, folder: RunFolder, progress: Progress) -> Built:
    data, options = resolved[DataConfig], resolved[TrainingConfig]
    train_items, held_out = _items(readers.read_rankings, data, options.seed, folder, progress)
    rows, eval_rows = (
        _told(
            encode_rankings(assembly.tokenizer, items, max_length=data.max_length, truncation=data.truncation), folder, progress
        )
        if items
        else []
        for items in (train_items, held_out)
    )
    source = Rows(rows, eval_rows, collate_rankings, Feed(len(rows), portion, options.seed), options.per_device_eval_batch_size)
    networks = {"reward": assembly.trained("reward", head=True)}
    return RewardModel(resolved[RewardModelConfig]), networks, source, Best("eval_loss", False), ("loss", "accuracy")


def _ppo(resolved: Resolved, assembly: Assembly, portion: int, folder: RunFolder, progress: Progress) -> Built:
    data, options, rollout, reward = (resolved[c] for c in (DataConfig, TrainingConfig, RolloutConfig, RewardConfig))
    train_items, held_out = _items(readers.read_prompts, data, options.seed, folder, progress)
    prompts, eval_prompts = (
        _told(fit_prompts(assembly.tokenizer, items, max_prompt_length=rollout.max_prompt_length), folder, progress)
        if items
        else []
        for items in (train_items, held_out)
    )
    path = Path(reward.reward_model_path) if reward.reward_model_path else None
    judge = assembly.reward(path) if path else None
    models = []
    if judge is not None:
        scorer = Scorer(judge, options.per_device_eval_batch_size)
        models.append(ModelReward(scorer, judge.base.tokenizer, policy_tokenizer=assembly.tokenizer))
    model = assembly.base.model
    engine = TorchEngine(
        model.config,
        assembly.tokenizer,
        dtype=torch.bfloat16 if assembly.precision.bf16 else model.dtype,
        slots=rollout.rollout_slots,
        device=assembly.precision.device,
    )
    source = Rollouts(
        prompts, eval_prompts, Feed(len(prompts), portion, options.seed), engine, mix(reward, models), rollout, options.seed
    )
    algorithm = PPO(resolved[PPOConfig], rollout.temperature)
    networks = {"policy": assembly.trained("policy"), "critic": assembly.critic(judge, path, new_head=resolved[PPOConfig].critic_head == "zero")}
    return algorithm, networks, source, Best("eval_reward", True), ("reward", "objective/kl", "policy/entropy_avg")


def _items(read: Any, data: DataConfig, seed: int, folder: RunFolder, progress: Progress) -> tuple[list[Any], list[Any]]:
    """Training and held-out items, split by prompt; duplicates and leakage are told about and written to data.json."""
    items = read(data.train_file)
    if data.eval_file is not None:
        train_items, held_out = items, read(data.eval_file)
    elif data.eval_fraction:
        splits = split_by_prompt(items, fractions=(1 - data.eval_fraction, data.eval_fraction, 0.0), seed=seed)
        train_items, held_out = splits.train, splits.validation
    else:
        train_items, held_out = items, []
    report = check({"train": train_items, "validation": held_out})
    _tell(report.lines(), folder, progress)
    return train_items, held_out


def _told(encoded: tuple[list[Any], Any], folder: RunFolder, progress: Progress) -> list[Any]:
    rows, report = encoded
    _tell(report.lines(), folder, progress)
    return rows


def _tell(lines: list[str], folder: RunFolder, progress: Progress) -> None:
    for line in lines:
        folder.event(line)
        progress.tell(line)


def _save_model(verb: str, loop: Loop, folder: Path) -> Path:
    """The trained model as a folder that others can read; written beside and moved into place."""
    networks = loop.learner.networks
    if verb == "reward":
        network = networks["reward"]
        assert isinstance(loop.source, Rows)
        scores = Scorer(network)([row.ids for item in loop.source.rows[:256] for row in item.rows])
        spread = torch.tensor(scores, dtype=torch.float64)
        save_reward(folder, network, mean=float(spread.mean()), deviation=max(1e-6, float(spread.std(correction=0))))
        return folder
    network = networks["policy"]
    merged = Network("merged", network.base, adapter=network.adapter)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(network.base.model.config, dtype=torch.float32)
    model.load_state_dict({name: value.float() for name, value in merged.weights()})
    model.generation_config = network.base.model.generation_config
    save_model(model, network.base.tokenizer, folder)
    return folder
