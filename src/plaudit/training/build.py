"""From an algorithm and its options to a loop that is ready to run: rows, networks, rewards, learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from plaudit.algorithms.base import Algorithm
from plaudit.config import Resolved
from plaudit.core.batch import Batch
from plaudit.data import collate, encode, readers
from plaudit.data.check import check
from plaudit.data.encode import EncodeReport
from plaudit.data.split import split_by_prompt
from plaudit.engines.base import Engine
from plaudit.engines.torch_engine import TorchEngine, end_token_ids
from plaudit.models.base import AdapterConfig
from plaudit.models.network import Network
from plaudit.models.scorer import Scorer, reward_digest
from plaudit.registry import find
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

Parts = tuple[Algorithm, dict[str, Network], Source]


@dataclass(frozen=True)
class Offline:
    """How a file becomes rows for algorithms that eat this kind."""

    read: Callable[[str], list[Any]]
    encode: Callable[..., Any]
    collate: Callable[..., Batch]


FILES: dict[str, Offline] = {
    "demonstrations": Offline(readers.read_demonstrations, encode.encode_demonstrations, collate.collate_demonstrations),
    "rankings": Offline(readers.read_rankings, encode.encode_rankings, collate.collate_rankings),
    "labels": Offline(readers.read_labels, encode.encode_labels, collate.collate_labels),
}
"""What an algorithm eats -> how its files are read."""


def algorithm_class(name: str) -> type[Algorithm]:
    """The algorithm by its registered name, `module:Class` or `path/to/file.py:Class`. UserError where there is none."""
    found = find("algorithms", name)
    if not (isinstance(found, type) and issubclass(found, Algorithm)) or not hasattr(found, "Config"):
        raise UserError(f"{name} is no algorithm: it must be a subclass of plaudit.algorithms.base.Algorithm with a Config")
    return found


@dataclass(frozen=True)
class Builder:
    """One run's options and what is made of them."""

    kind: type[Algorithm]
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

    def parts(self) -> Parts:
        """Algorithm, networks and source."""
        own = self.options[self.kind.Config]
        if self.kind.eats == "prompts":
            return self._online(own)
        if self.kind.eats not in FILES:
            raise UserError(f"{self.kind.__name__} eats {self.kind.eats!r}; an algorithm eats prompts, {', '.join(FILES)}")
        algorithm = self.kind(own)
        return algorithm, self._networks(algorithm, None, None), self._offline(algorithm)

    def _offline(self, algorithm: Algorithm) -> Rows:
        kind = FILES[algorithm.eats]
        limit, rule = self._max_length(), self.options[DataConfig].truncation

        def encoded(items: Sequence[Any]) -> Any:
            return kind.encode(self.assembly.tokenizer, items, max_length=limit, truncation=rule)

        rows, held_out = self._rows(kind.read, encoded)
        batched = partial(kind.collate, mismatched=True) if algorithm.mismatched else kind.collate
        feed = self.feed(len(rows))
        if algorithm.mismatched and feed.portion < 2:
            raise UserError(
                f"{self.kind.__name__} compares each answer with another row's, so a step needs 2 rows or more; raise "
                "per_device_train_batch_size or gradient_accumulation_steps, or give more rows"
            )
        return Rows(rows, held_out, batched, feed, self.training.per_device_eval_batch_size)

    def _online(self, own: Any) -> Parts:
        assembly, rollout, reward = self.assembly, self.options[RolloutConfig], self.options[RewardConfig]
        if rollout.num_generations < self.kind.siblings:
            raise UserError(
                f"{self.kind.__name__} compares the answers to one prompt with each other: set num_generations to "
                f"{self.kind.siblings} or more, not {rollout.num_generations}"
            )

        def fit(items: Sequence[Any]) -> Any:
            kept, report = encode.fit_prompts(assembly.tokenizer, items, max_prompt_length=rollout.max_prompt_length)
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
        source = Rollouts(
            prompts, held_out, self.feed(len(prompts)), self._engine(), mix(reward, models), rollout, self.training.seed
        )
        algorithm = self.kind(own, rollout.temperature)
        answers = source.feed.portion * rollout.num_generations
        if algorithm.mini_batches > answers:
            raise UserError(
                f"num_mini_batches={algorithm.mini_batches} is more than the {answers} answers of a step; lower it, or raise "
                "per_device_train_batch_size, gradient_accumulation_steps or num_generations"
            )
        return algorithm, self._networks(algorithm, judge, path), source

    def _engine(self) -> Engine:
        assembly, model = self.assembly, self.assembly.base.model
        return TorchEngine(
            model.config,
            assembly.tokenizer,
            dtype=torch.bfloat16 if assembly.precision.bf16 else model.dtype,
            slots=self.options[RolloutConfig].rollout_slots,
            device=assembly.precision.device,
            eos_token_ids=end_token_ids(model),
        )

    def _networks(self, algorithm: Algorithm, judge: Network | None, folder: Path | None) -> dict[str, Network]:
        """A network for each role; one that gives values starts from the reward model where there is one."""
        found = {}
        for role, wants in algorithm.networks.items():
            if "value" in wants:
                found[role] = self.assembly.critic(judge, folder, new_head=algorithm.critic_head == "zero")
            else:
                found[role] = self.assembly.trained(role, head="score" in wants)
        return found

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


def build(name: str, options: Resolved, folder: RunFolder, progress: Progress) -> Loop:
    """The loop of one run of the algorithm `name`, at its beginning."""
    training = options[TrainingConfig]
    assembly = Assembly(options[ModelConfig], options[AdapterConfig], training)
    folder.inputs(model_name_or_path=assembly.base.digest)
    kind = algorithm_class(name)
    algorithm, networks, source = Builder(kind, options, assembly, folder, progress).parts()
    steps = training.max_steps or source.feed.steps(training.num_train_epochs)
    learner = Learner(
        algorithm,
        networks,
        options[OptimizerConfig],
        total_steps=steps,
        micro_batch=training.per_device_train_batch_size,
        reference=assembly.reference() if algorithm.reference else None,
        seed=training.seed,
    )
    if isinstance(source, Rollouts):
        source.max_steps = steps
    return Loop(learner, source, folder, training, Best(*kind.best), steps, assembly.precision.bf16, progress, kind.shown)
