"""From a verb and its options to a loop that is ready to run: rows, networks, rewards, learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from plaudit.algorithms.base import Algorithm
from plaudit.algorithms.ppo import PPO, PPOConfig
from plaudit.algorithms.reward import RewardModel, RewardModelConfig
from plaudit.algorithms.sft import SFT, SFTConfig
from plaudit.config import Resolved
from plaudit.data import readers
from plaudit.data.check import check
from plaudit.data.collate import collate_demonstrations, collate_rankings
from plaudit.data.encode import EncodeReport, encode_demonstrations, encode_rankings, fit_prompts
from plaudit.data.split import split_by_prompt
from plaudit.engines.opening import engine_for
from plaudit.models.base import AdapterConfig
from plaudit.models.network import Network
from plaudit.models.scorer import Scorer, reward_digest
from plaudit.rewards.mix import RewardConfig, mix
from plaudit.rewards.model import ModelReward
from plaudit.schema import UserError
from plaudit.training.assemble import Assembly, ModelConfig
from plaudit.training.feed import Feed
from plaudit.training.folder import RunFolder
from plaudit.training.learner import Learner
from plaudit.training.loop import Best, Loop
from plaudit.training.options import DataConfig, OptimizerConfig, RolloutConfig, TrainingConfig
from plaudit.training.progress import Progress
from plaudit.training.sources import Rollouts, Rows, Source


@dataclass(frozen=True)
class Parts:
    """What differs between verbs; `shown` are the metrics beside the progress bar."""

    algorithm: Algorithm
    networks: dict[str, Network]
    source: Source
    best: Best
    shown: tuple[str, ...]


@dataclass(frozen=True)
class Builder:
    """One run's options and what is made of them before the algorithm is known."""

    options: Resolved
    assembly: Assembly
    folder: RunFolder
    progress: Progress

    @property
    def training(self) -> TrainingConfig:
        return self.options[TrainingConfig]

    def feed(self, rows: int) -> Feed:
        """Portions of one optimiser step."""
        t = self.training
        return Feed(rows, t.per_device_train_batch_size * t.gradient_accumulation_steps, t.seed)

    def sft(self) -> Parts:
        limit, rule = self._max_length(), self.options[DataConfig].truncation

        def encode(items: Sequence[Any]) -> Any:
            return encode_demonstrations(self.assembly.tokenizer, items, max_length=limit, truncation=rule)

        rows, held_out = self._rows(readers.read_demonstrations, encode)
        source = Rows(rows, held_out, collate_demonstrations, self.feed(len(rows)), self.training.per_device_eval_batch_size)
        networks = {"policy": self.assembly.trained("policy")}
        return Parts(SFT(self.options[SFTConfig]), networks, source, Best("eval_loss", False), ("loss",))

    def reward(self) -> Parts:
        limit, rule = self._max_length(), self.options[DataConfig].truncation

        def encode(items: Sequence[Any]) -> Any:
            return encode_rankings(self.assembly.tokenizer, items, max_length=limit, truncation=rule)

        rows, held_out = self._rows(readers.read_rankings, encode)
        source = Rows(rows, held_out, collate_rankings, self.feed(len(rows)), self.training.per_device_eval_batch_size)
        networks = {"reward": self.assembly.trained("reward", head=True)}
        algorithm = RewardModel(self.options[RewardModelConfig])
        return Parts(algorithm, networks, source, Best("eval_loss", False), ("loss", "accuracy"))

    def ppo(self) -> Parts:
        assembly, rollout, reward = self.assembly, self.options[RolloutConfig], self.options[RewardConfig]

        def fit(items: Sequence[Any]) -> Any:
            kept, report = fit_prompts(assembly.tokenizer, items, max_prompt_length=rollout.max_prompt_length)
            self._check_context(min(report.longest, rollout.max_prompt_length), rollout.max_completion_length)
            return kept, report

        prompts, held_out = self._rows(readers.read_prompts, fit)
        path = Path(reward.reward_model_path) if reward.reward_model_path else None
        judge = assembly.reward(path) if path else None
        if path is not None:
            self.folder.inputs(reward_model_path=reward_digest(path))
        models = []
        if judge is not None:
            scorer = Scorer(judge, self.training.per_device_eval_batch_size)
            models.append(ModelReward(scorer, judge.base.tokenizer, policy_tokenizer=assembly.tokenizer))
        model = assembly.base.model
        engine = engine_for(
            model,
            assembly.tokenizer,
            dtype=torch.bfloat16 if assembly.precision.bf16 else model.dtype,
            slots=rollout.rollout_slots,
            device=assembly.precision.device,
        )
        source = Rollouts(prompts, held_out, self.feed(len(prompts)), engine, mix(reward, models), rollout, self.training.seed)
        options = self.options[PPOConfig]
        answers = source.feed.portion * rollout.num_generations
        if options.num_mini_batches > answers:
            raise UserError(
                f"num_mini_batches={options.num_mini_batches} is more than the {answers} answers of a step; lower it, or raise "
                "per_device_train_batch_size, gradient_accumulation_steps or num_generations"
            )
        critic = assembly.critic(judge, path, new_head=options.critic_head == "zero")
        networks = {"policy": assembly.trained("policy"), "critic": critic}
        shown = ("reward", "objective/kl", "policy/entropy_avg")
        return Parts(PPO(options, rollout.temperature), networks, source, Best("eval_reward", True), shown)

    def _rows(
        self, read: Callable[[str], list[Any]], encode: Callable[[Sequence[Any]], tuple[list[Any], EncodeReport]]
    ) -> tuple[list[Any], list[Any]]:
        """Training and held-out rows, split by prompt; what was found in them, and what was left out, is told and kept."""
        data = self.options[DataConfig]
        items, held_out = read(data.train_file), []
        self.folder.inputs(train_file=readers.dataset_digest(items))
        if data.eval_file is not None:
            held_out = read(data.eval_file)
            self.folder.inputs(eval_file=readers.dataset_digest(held_out))
        elif data.eval_fraction:
            splits = split_by_prompt(
                items, fractions=(1 - data.eval_fraction, data.eval_fraction, 0.0), seed=self.training.seed
            )
            items, held_out = splits.train, splits.validation
        if self.training.early_stopping_patience and not (held_out and self.training.eval_steps):
            raise UserError("early_stopping_patience needs held-out rows (eval_file, or eval_fraction above 0) and eval_steps")
        self._tell(check({"train": items, "validation": held_out}).lines())
        return self._encoded(items, encode), self._encoded(held_out, encode) if held_out else []

    def _max_length(self) -> int:
        """`max_length`, or what the model can read where that is less."""
        asked, context = self.options[DataConfig].max_length, self.assembly.context
        if asked > context:
            self._tell([f"max_length {asked} is more than the model can read: {context} is used"])
        return min(asked, context)

    def _check_context(self, prompt: int, answer: int) -> None:
        context = self.assembly.context
        if prompt + answer > context:
            raise UserError(
                f"the longest prompt has {prompt} tokens and max_completion_length is {answer}, together more than the "
                f"{context} that the model can read; set max_prompt_length to {max(1, context - answer)}, or lower "
                "max_completion_length"
            )

    def _encoded(self, items: Sequence[Any], encode: Callable[[Sequence[Any]], tuple[list[Any], EncodeReport]]) -> list[Any]:
        rows, report = encode(items)
        self._tell(report.lines())
        return rows

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            self.folder.event(line)
            self.progress.tell(line)


VERBS: dict[str, Callable[[Builder], Parts]] = {"sft": Builder.sft, "reward": Builder.reward, "ppo": Builder.ppo}


def build(verb: str, options: Resolved, folder: RunFolder, progress: Progress) -> Loop:
    """The loop of one run, at its beginning."""
    training = options[TrainingConfig]
    assembly = Assembly(options[ModelConfig], options[AdapterConfig], training)
    folder.inputs(model_name_or_path=assembly.base.digest)
    parts = VERBS[verb](Builder(options, assembly, folder, progress))
    steps = training.max_steps or parts.source.feed.steps(training.num_train_epochs)
    learner = Learner(
        parts.algorithm,
        parts.networks,
        options[OptimizerConfig],
        total_steps=steps,
        micro_batch=training.per_device_train_batch_size,
        reference=assembly.reference() if parts.algorithm.reference else None,
        seed=training.seed,
    )
    if isinstance(parts.source, Rollouts):
        parts.source.max_steps = steps
    return Loop(learner, parts.source, folder, training, parts.best, steps, assembly.precision.bf16, progress, parts.shown)
