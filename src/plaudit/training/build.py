"""From an algorithm and its options to a loop that is ready to run: rows, networks, rewards, learner."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from plaudit.algorithms.base import Algorithm
from plaudit.algorithms.classify import Classify
from plaudit.config import Resolved
from plaudit.core.batch import Batch
from plaudit.data import aspects, collate, encode, readers
from plaudit.data.options import ReadConfig
from plaudit.engines.base import Engine
from plaudit.engines.opening import engine_for
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.base import AdapterConfig
from plaudit.models.network import Network
from plaudit.models.scorer import reward_digest
from plaudit.registry import find
from plaudit.rewards.aspects import reward_of, weights_of
from plaudit.rewards.base import Reward
from plaudit.rewards.ensemble import member_name, together
from plaudit.rewards.mix import RewardConfig, RewardMix, mix
from plaudit.schema import UserError
from plaudit.training.assemble import Assembly, ModelConfig
from plaudit.training.best import Best
from plaudit.training.feed import Feed
from plaudit.training.folder import RunFolder
from plaudit.training.guard import AlarmConfig, Guard, GuardConfig
from plaudit.training.learner import Learner
from plaudit.training.loop import Loop
from plaudit.training.options import DataConfig, OptimizerConfig, RolloutConfig, TrainingConfig
from plaudit.training.progress import Progress
from plaudit.training.regularise import RegularisationConfig
from plaudit.training.rows import Encoder, Preparation, Prepared, Study
from plaudit.training.sources import Rollouts, Rows, Source

Parts = tuple[Algorithm, dict[str, Network], Source]


@dataclass(frozen=True)
class Offline:
    """How items of one kind become rows: all at once, one at a time, and rows a batch."""

    encode: Callable[..., Any]
    one: Callable[..., list[Any]]
    collate: Callable[..., Batch]


FILES: dict[str, Offline] = {
    "demonstrations": Offline(encode.encode_demonstrations, encode.demonstration_rows, collate.collate_demonstrations),
    "rankings": Offline(encode.encode_rankings, encode.ranking_rows, collate.collate_rankings),
    "labels": Offline(encode.encode_labels, encode.label_rows, collate.collate_labels),
    "aspects": Offline(aspects.encode_aspects, aspects.aspect_rows, aspects.collate_aspects),
    "steps": Offline(encode.encode_stepwise, encode.steps_rows, collate.collate_steps),
}
"""What an algorithm eats -> how its files are read."""
INDEPENDENT = "eval_independent/mean"
"""What the best evaluation is chosen by where there is an independent measure."""
RATE, LORA_RATE = "learning_rate", "lora_learning_rate"
"""In an algorithm's defaults: the peak learning rate of full fine-tuning, and that of LoRA."""


def algorithm_class(name: str) -> type[Algorithm]:
    """The algorithm by its registered name, `module:Class` or `path/to/file.py:Class`.

    UserError: there is none of that name, or what is there does not keep the contract of `Algorithm`.
    """
    found = find("algorithms", name)
    if not (isinstance(found, type) and issubclass(found, Algorithm)):
        raise UserError(f"{name} is no algorithm: it must be a subclass of plaudit.algorithms.base.Algorithm")
    if flaw := _flaw(found):
        raise UserError(f"{name} is not a whole algorithm: {flaw}")
    return found


def purpose(kind: type[Algorithm]) -> str:
    """What the algorithm does, in one line: the first of its docstring, or of its file's."""
    text = kind.__doc__ or sys.modules[kind.__module__].__doc__ or ""
    return text.strip().partition("\n")[0]


def _flaw(kind: type[Algorithm]) -> str:
    """What its class lacks to be trained, in words; empty where it lacks nothing."""
    section = getattr(kind, "Config", None)
    if not (isinstance(section, type) and is_dataclass(section)):
        return "it has no Config; give it a @config class with its options (plaudit.config.config)"
    rates = getattr(section, "defaults", {})
    if missing := [rate for rate in (RATE, LORA_RATE) if rate not in rates]:
        return f"{section.__name__}.defaults lacks {' and '.join(missing)}, where a run without learning_rate looks"
    if kind.eats != "prompts" and kind.eats not in FILES:
        return f"it eats {kind.eats!r}; an algorithm eats {', '.join(FILES)} or prompts"
    if not kind.networks:
        return 'its networks are empty; name what is trained and what it gives, such as {"policy": frozenset({"logp"})}'
    return ""


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

    def feed(self, prepared: Prepared) -> Feed:
        """Portions of one optimiser step."""
        t = self.training
        portion = t.per_device_train_batch_size * t.gradient_accumulation_steps
        return Feed(len(prepared.rows), portion, t.seed, prepared.mixture)

    def parts(self) -> Parts:
        """Algorithm, networks and source."""
        own = self.options[self.kind.Config]
        if self.kind.eats == "prompts":
            return self._online(own)
        algorithm, adapter = self.kind(own), self.options[AdapterConfig]
        if isinstance(algorithm, Classify) and adapter.use_peft and not adapter.mergeable:
            raise UserError(
                f"a classifier is saved as one model, into which an adapter of peft_type {adapter.peft_type} cannot be merged; "
                "use lora, or use_peft=false"
            )
        source = self._offline(algorithm)  # first, since a head may be as wide as there are classes
        return algorithm, self._networks(algorithm, None, None), source

    def _offline(self, algorithm: Algorithm) -> Rows:
        kind, tokenizer = FILES[algorithm.eats], self.assembly.tokenizer
        limit, rule = self._max_length(), self.options[DataConfig].truncation
        encoder = Encoder(
            lambda items: kind.encode(tokenizer, items, max_length=limit, truncation=rule),
            str(algorithm.eats),
            limit,
            one=lambda item, place, report: kind.one(tokenizer, item, place, report, rule),
        )
        prepared = self._rows(algorithm.eats, encoder, algorithm.study)
        batched = partial(kind.collate, mismatched=True) if algorithm.mismatched else kind.collate
        feed = self.feed(prepared)
        if algorithm.mismatched and feed.portion < 2:
            raise UserError(
                f"{self.kind.__name__} compares each answer with another row's, so a step needs 2 rows or more; raise "
                "per_device_train_batch_size or gradient_accumulation_steps, or give more rows"
            )
        least = 2 if algorithm.mismatched else 1
        return Rows(prepared.rows, prepared.held_out, batched, feed, self.training.per_device_eval_batch_size, least)

    def _online(self, own: Any) -> Parts:
        assembly, rollout, reward = self.assembly, self.options[RolloutConfig], self.options[RewardConfig]
        if rollout.num_generations < self.kind.siblings:
            raise UserError(
                f"{self.kind.__name__} compares the answers to one prompt with each other: set num_generations to "
                f"{self.kind.siblings} or more, not {rollout.num_generations}"
            )

        def look(report: encode.EncodeReport) -> None:
            self._check_context(min(report.longest, rollout.max_prompt_length), rollout.max_completion_length)

        limit = rollout.max_prompt_length
        encoder = Encoder(
            lambda items: encode.fit_prompts(assembly.tokenizer, items, max_prompt_length=limit),
            "prompts",
            limit,
            fits=lambda prompt, place, report: encode.prompt_fits(assembly.tokenizer, prompt, place, report),
            look=look,
        )
        algorithm = self.kind(own, rollout.temperature)
        prepared = self._rows("prompts", encoder, algorithm.study)
        judges, models = self._judges(reward)
        feed = self.feed(prepared)
        beside = self._beside(algorithm, feed.portion)
        rewards, seed, rounds = mix(reward, models), self.training.seed, algorithm.gen_batches
        if rounds > 1 and reward.reward_normalization == "batch":
            raise UserError(
                "filter_groups samples a step in several rounds, which reward_normalization=batch would put on scales of their "
                "own; leave one of them out (GRPO scales rewards itself: scale_rewards)"
            )
        independent = self._independent(judges, held_out=bool(len(prepared.held_out)))
        source = Rollouts(
            *(prepared.rows, prepared.held_out, feed, self._engine(), rewards, rollout, seed),
            beside=beside,
            rounds=rounds,
            independent=independent,
        )
        answers = source.feed.portion * rollout.num_generations
        if algorithm.mini_batches > answers:
            raise UserError(
                f"num_mini_batches={algorithm.mini_batches} is more than the {answers} answers of a step; lower it, or raise "
                "per_device_train_batch_size, gradient_accumulation_steps or num_generations"
            )
        judge, path = (judges[0], Path(reward.reward_models[0])) if judges else (None, None)
        return algorithm, self._networks(algorithm, judge, path), source

    def _beside(self, algorithm: Algorithm, prompts: int) -> Rows | None:
        """Pre-training rows, of which a portion goes with every step, where the algorithm wants some."""
        if algorithm.pretraining_file is None:
            return None
        items = readers.read_demonstrations(algorithm.pretraining_file)
        self.folder.inputs(ptx_file=readers.dataset_digest(items))
        limit, rule = self._max_length(), self.options[DataConfig].truncation
        rows, report = encode.encode_demonstrations(self.assembly.tokenizer, items, max_length=limit, truncation=rule)
        self._preparation().tell([f"ptx_file: {line}" for line in report.lines()])
        feed = Feed(len(rows), algorithm.pretraining_rows or prompts, self.training.seed + 1)
        return Rows(rows, [], collate.collate_demonstrations, feed, len(rows))

    def _judges(self, options: RewardConfig) -> tuple[list[Network], list[Reward]]:
        """The reward models, and what the mix takes of them: one, or their ensemble."""
        judges: list[Network] = []
        members: list[Reward] = []
        paths = [Path(path) for path in options.reward_models]
        for number, path in enumerate(paths, 1):
            judge = self.assembly.reward(path, judges)
            judges.append(judge)
            name, size = member_name(number, len(paths)), self.training.per_device_eval_batch_size
            members.append(reward_of(judge, name, options, batch_size=size, policy_tokenizer=self.assembly.tokenizer))
        if paths:
            self.folder.inputs(reward_model_path=" ".join(reward_digest(path) for path in paths))
        return judges, together(options, members)

    def _independent(self, judges: list[Network], *, held_out: bool) -> RewardMix | None:
        """What scores evaluations beside the rewards; `judges` are the reward models that are in memory already."""
        guard = self.options[GuardConfig]
        if not guard.independent:
            return None
        if not held_out:
            raise UserError(
                "an independent measure needs held-out prompts, of which there are none: set eval_file or eval_fraction"
            )
        models: list[Reward] = []
        if guard.independent_reward_model_path is not None:
            path = Path(guard.independent_reward_model_path)
            if str(path) in self.options[RewardConfig].reward_models:
                raise UserError(f"independent_reward_model_path is {path}, which is trained on too; give one of another half")
            judge, size = self.assembly.reward(path, judges), self.training.per_device_eval_batch_size
            options = RewardConfig(reward_model_path=str(path))
            models = [reward_of(judge, "independent", options, batch_size=size, policy_tokenizer=self.assembly.tokenizer)]
            self.folder.inputs(independent_reward_model_path=reward_digest(path))
        return mix(RewardConfig(reward_funcs=guard.independent_reward_funcs), models)

    def _engine(self) -> Engine:
        assembly, model = self.assembly, self.assembly.base.model
        engine = engine_for(
            model,
            assembly.tokenizer,
            dtype=torch.bfloat16 if assembly.precision.bf16 else model.dtype,
            slots=self.options[RolloutConfig].rollout_slots,
            device=assembly.precision.device,
        )
        if assembly.lora and not assembly.adapter.mergeable and not isinstance(engine, TorchEngine):
            raise UserError(
                f"answers of a {model.config.model_type} model are written by transformers' own generate, which cannot use "
                f"peft_type {assembly.adapter.peft_type}; use lora or ia3"
            )
        return engine

    def _networks(self, algorithm: Algorithm, judge: Network | None, folder: Path | None) -> dict[str, Network]:
        """A network for each role; one that gives values starts from the reward model where there is one."""
        found = {}
        for role, wants in algorithm.networks.items():
            if "value" in wants:
                new_head, weights = algorithm.critic_head == "zero", self._aspect_weights(judge)
                found[role] = self.assembly.critic(judge, folder, new_head=new_head, weights=weights)
            else:
                classes = algorithm.width if "classes" in wants else 0
                head, thresholds = bool(wants & {"score", "steps"}), algorithm.thresholds
                found[role] = self.assembly.trained(role, head=head, classes=classes, thresholds=thresholds)
        return found

    def _aspect_weights(self, judge: Network | None) -> list[float]:
        """What each aspect of the reward model weighs; none where it has no aspects."""
        return list(weights_of(judge.aspects, self.options[RewardConfig].aspect_weights).values()) if judge is not None else []

    def _rows(self, wants: Any, encoder: Encoder, study: Study) -> Prepared:
        """Training and held-out rows, split by prompt; what was found in them, and what was left out, is told and kept."""
        found = self._preparation().prepare(wants, encoder, thumbs=self.kind.thumbs, study=study)
        if self.training.early_stopping_patience and not (len(found.held_out) and self.training.eval_steps):
            raise UserError("early_stopping_patience needs held-out rows (eval_file, or eval_fraction above 0) and eval_steps")
        return found

    def _preparation(self) -> Preparation:
        return Preparation(self.options[DataConfig], self.options[ReadConfig], self.folder, self.progress, self.training.seed)

    def _max_length(self) -> int:
        """`max_length`, or what the model can read where that is less."""
        asked, context = self.options[DataConfig].max_length, self.assembly.context
        if asked > context:
            self._preparation().tell([f"max_length {asked} is more than the model can read: {context} is used"])
        return min(asked, context)

    def _check_context(self, prompt: int, answer: int) -> None:
        context = self.assembly.context
        if prompt + answer > context:
            raise UserError(
                f"the longest prompt has {prompt} tokens and max_completion_length is {answer}, together more than the "
                f"{context} that the model can read; set max_prompt_length to {max(1, context - answer)}, or lower "
                "max_completion_length"
            )


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
        regularisation=options[RegularisationConfig] if kind.dropout else RegularisationConfig(),
    )
    learner.regularisation.check(options[AdapterConfig].lora_dropout)
    if learner.regularisation.moves_embeddings:  # each row has noise of its own, so no two begin alike
        for network in networks.values():
            network.sharing = False
    if isinstance(source, Rollouts):
        source.max_steps = steps
    guard = Guard(options[GuardConfig] if isinstance(source, Rollouts) else options[AlarmConfig])
    independent = isinstance(source, Rollouts) and source.independent is not None
    best = Best(INDEPENDENT, True) if independent else Best(*kind.best)
    return Loop(learner, source, folder, training, best, steps, assembly.precision.bf16, progress, guard, kind.shown)
