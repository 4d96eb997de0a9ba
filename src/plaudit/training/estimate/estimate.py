"""`estimate(verb, options)`: what a run will take; and `foresee`, what every run notes of itself as it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from plaudit.algorithms.base import Algorithm
from plaudit.config import Resolved
from plaudit.data.encode import Encoded
from plaudit.data.template import Row
from plaudit.models import attention_kernel
from plaudit.models.adapters import AdapterConfig
from plaudit.models.machine import device
from plaudit.models.outline import Outline, outline
from plaudit.schema import UserError
from plaudit.training.assemble import ModelConfig, precision
from plaudit.training.build import algorithm_class
from plaudit.training.estimate import fleet as fleets
from plaudit.training.estimate import hints, rows, seconds
from plaudit.training.estimate.gpus import Gpu, priced
from plaudit.training.estimate.memory import memory
from plaudit.training.estimate.parts import FAR_RANGE, TIME_RANGE, Counts, Estimate, Memory, Place, Work
from plaudit.training.estimate.passes import Cut, cut, heaviest
from plaudit.training.estimate.probe import probe
from plaudit.training.estimate.rates import Rates, Wanted, cached, machine
from plaudit.training.estimate.work import Counter, counts
from plaudit.training.options import DataConfig, OptimizerConfig, RolloutConfig, TrainingConfig

if TYPE_CHECKING:
    from plaudit.training.loop import Loop

LIBRARIES = 500_000_000
"""Bytes that Python, torch and transformers take before anything is loaded (measured on Linux)."""
FILE = "estimate.json"


@dataclass(frozen=True)
class Case:
    """One run with its options, before it starts."""

    kind: type[Algorithm]
    algorithm: Algorithm
    options: Resolved
    model: Outline
    lengths: rows.Lengths
    answer: int

    @cached_property
    def bf16(self) -> bool:
        return precision(self.options[TrainingConfig]).bf16

    @cached_property
    def how(self) -> Cut:
        a, t = self.options[AdapterConfig], self.options[TrainingConfig]
        sharing = t.share_prompts and not a.lora_dropout
        inserted = a.num_virtual_tokens if a.use_peft and a.peft_type == "prompt_tuning" else 0
        fused = self.bf16 and attention_kernel.serves(device(), torch.bfloat16, self.fleet.model.shape.head_dim)
        return Cut(t.per_device_train_batch_size, sharing, t.packing, inserted, self.fleet.lean, fused)

    @cached_property
    def meal(self) -> rows.Meal:
        t = self.options[TrainingConfig]
        portion = t.per_device_train_batch_size * t.gradient_accumulation_steps
        return rows.meal(self.kind, self.algorithm, self.options, self.lengths, portion, self.answer)

    @cached_property
    def fleet(self) -> fleets.Fleet:
        return fleets.fleet(self.algorithm, self.options, self.model)

    @cached_property
    def counts(self) -> Counts:
        return counts(self.options, self.meal)

    @cached_property
    def step(self) -> list[Work]:
        return Counter(self.algorithm, self.options, self.fleet, self.how).step(self.meal)

    @cached_property
    def evaluation(self) -> list[Work]:
        return Counter(self.algorithm, self.options, self.fleet, self.how).evaluation(self.meal)

    def memory(self, *, bf16: bool | None = None, gpu: bool | None = None) -> Memory:
        """Here, or with another precision on a GPU."""
        heavy = heaviest(cut(self.algorithm, self.meal.longest, self.how))
        half = self.bf16 if bf16 is None else bf16
        there = device().type == "cuda" if gpu is None else gpu
        return memory(self.fleet, self.options, heavy, self.meal, bf16=half, gpu=there)

    @cached_property
    def saved(self) -> int:
        """Bytes of a checkpoint."""
        o = self.options[OptimizerConfig]
        return sum(4 * role.trained + fleets.optimizer_bytes(o, self.model, role) for role in self.fleet.roles)

    @cached_property
    def wanted(self) -> Wanted:
        """What a probe would have to measure."""
        passes = sorted(
            (p for mini in cut(self.algorithm, self.meal.batches[0], self.how) for p in mini), key=lambda p: p.tokens
        )
        answered = 0
        places = 0
        if self.meal.answers:
            o = self.options[RolloutConfig]
            answered = min(o.rollout_slots, self.meal.portion * o.num_generations)
            places = round(sum(self.meal.prompts) / len(self.meal.prompts)) + self.meal.answers // 2
        whole = not self.fleet.lora
        return Wanted(self.model, self.options, self.bf16, passes[len(passes) // 2], whole, answered, places)

    def here(self, rates: Rates | None, price: float | None = None) -> Place | None:
        """On this machine, where its rates are known."""
        if rates is None:
            return None
        of = seconds.measured(rates, self.model.shape.layers)
        found = seconds.by_phase(self.step, self.evaluation, self.counts, self.saved, of, rates.disk)
        held = installed_memory()
        need = self.memory().total + (0 if device().type == "cuda" else LIBRARIES)
        fits = None if held is None else need <= 0.9 * held
        return Place(machine(), found, fits, held, price, TIME_RANGE, sum(map(of, self.step)), True)

    def there(self, gpu: Gpu) -> Place:
        """On a GPU by its data sheet."""
        half = gpu.bf16 is not None and self.options[TrainingConfig].bf16 is not False
        shape = self.model.shape
        of = seconds.from_data_sheet(gpu, shape.layers, self.model.parameters, shape.cache(2 if half else 4), bf16=half)
        found = seconds.by_phase(self.step, self.evaluation, self.counts, self.saved, of, seconds.DISK)
        fits = self.memory(bf16=half, gpu=True).total <= 0.9 * gpu.memory
        return Place(gpu.name, found, fits, int(gpu.memory), gpu.price, FAR_RANGE, sum(map(of, self.step)))

    def changed(self, options: Resolved) -> Case:
        """The same run with other options; rows that become too long are cut."""
        answer = self.answer
        if self.meal.answers and options[RolloutConfig] != self.options[RolloutConfig]:
            answer = min(answer, options[RolloutConfig].max_completion_length)
        lengths = self.lengths
        if options[DataConfig].max_length < self.options[DataConfig].max_length and self.kind.eats != "prompts":
            lengths = replace(lengths, items=[_cut(item, options[DataConfig].max_length) for item in lengths.items])
        return replace(self, options=options, lengths=lengths, answer=answer)


def _cut(item: Encoded, most: int) -> Encoded:
    shorter = tuple(Row(row.ids[:most], row.mask[:most], min(row.prompt_length, most)) for row in item.rows)
    return replace(item, rows=shorter)


def algorithm_of(kind: type[Algorithm], options: Resolved) -> Algorithm:
    """The algorithm as a run would make it."""
    own = options[kind.Config]
    return kind(own, options[RolloutConfig].temperature) if kind.eats == "prompts" else kind(own)


def case(verb: str, options: Resolved, *, answer_tokens: int | None = None, loop: Loop | None = None) -> Case:
    """A run's case from its files, or from the rows of a loop that is there already.

    answer_tokens  mean tokens of a sampled answer; None takes the most that is allowed. UserError: what `outline` and the
                   readers say.
    """
    kind = algorithm_class(verb)
    algorithm = algorithm_of(kind, options)
    if loop is not None:
        algorithm.width = loop.learner.algorithm.width
        base = next(iter(loop.learner.networks.values())).base
        model = Outline(options[ModelConfig].model_name_or_path, base.model.config, base.tokenizer)
        lengths = rows.known(kind, loop.source, base.tokenizer)
    else:
        chosen = options[ModelConfig]
        model = outline(chosen.model_name_or_path, revision=chosen.model_revision, trust_remote_code=chosen.trust_remote_code)
        lengths = rows.read(kind, algorithm, options, model)
    answer = 0
    if kind.eats == "prompts":
        most = options[RolloutConfig].max_completion_length
        if answer_tokens is not None and not 1 <= answer_tokens <= most:
            raise UserError(
                f"--answer-tokens {answer_tokens}: an answer has between 1 and {most} tokens (max_completion_length)"
            )
        answer = answer_tokens or most
    elif answer_tokens is not None:
        raise UserError(f"--answer-tokens is for algorithms that sample answers; {verb} learns from those in its file")
    return Case(kind, algorithm, options, model, lengths, answer)


def estimate(
    verb: str, options: Resolved, *, answer_tokens: int | None = None, measure: bool = True, prices: list[str] | None = None
) -> Estimate:
    """What a run of these options will take. measure: probe this machine; else an earlier probe serves where there is one."""
    gpus, price = priced(prices or [])
    one = case(verb, options, answer_tokens=answer_tokens)
    rates = probe(one.wanted) if measure else cached(one.wanted)
    return _told(verb, one, rates, gpus, price, answer_tokens is None, with_hints=True)


def _told(
    verb: str, one: Case, rates: Rates | None, gpus: tuple[Gpu, ...], price: float | None, longest: bool, *, with_hints: bool
) -> Estimate:
    def ask(options: Resolved) -> tuple[int, float | None]:
        other = one.changed(options)
        place = other.here(rates)
        return other.memory().total, None if place is None else place.total

    work = [w.times(one.counts.steps or 1) for w in one.step] + [w.times(one.counts.evaluations) for w in one.evaluation]
    return Estimate(
        verb=verb,
        model=one.model.name,
        parameters=one.model.parameters,
        trained=one.fleet.trained,
        dtype="bf16" if one.bf16 else "fp32",
        counts=one.counts,
        tokens=round(sum(int(batch.length.sum()) for batch in one.meal.batches) / len(one.meal.batches)),
        memory=one.memory(),
        work=tuple(work),
        here=one.here(rates, price),
        others=tuple(one.there(gpu) for gpu in gpus),
        hints=hints.tried(one.options, ask) if with_hints else (),
        notes=tuple(_notes(one, rates, longest)),
        rates={}
        if rates is None
        else {"matmul_flops_per_second": rates.matmul, "bytes_per_second": rates.bandwidth, "threads": rates.threads},
    )


def _notes(one: Case, rates: Rates | None, longest: bool) -> list[str]:
    """What was assumed."""
    found = [*one.meal.notes, *one.fleet.notes]
    if one.counts.steps is None:
        found.append("how many steps there are is not known (no rows, no max_steps): time is that of one step")
    if one.meal.answers and longest:
        found.append(
            f"every answer is taken to have {one.answer} tokens (max_completion_length); --answer-tokens says otherwise"
        )
    if one.algorithm.epochs > 1 and getattr(one.options[one.kind.Config], "target_kl", None):
        found.append("target_kl may end the passes over a batch earlier")
    if one.algorithm.pretraining_file is not None:
        found.append("pre-training rows (ptx_file) are not counted")
    if one.fleet.online and not one.fleet.judges:
        found.append("reward functions are taken to cost nothing")
    if one.options[TrainingConfig].early_stopping_patience:
        found.append("early stopping may end the run earlier")
    if rates is None:
        found.append("this machine has not been measured for this model: `plaudit estimate` does so in a few seconds")
    return found


def foresee(verb: str, options: Resolved, loop: Loop) -> Estimate | None:
    """Estimate a run that is about to start from what it holds, without measuring; None where that is not possible.

    An estimate is a convenience: whatever goes wrong with it is noted in the run's log and never stops the run.
    """
    from plaudit.training.estimate.telling import keep

    try:
        one = case(verb, options, loop=loop)
        found = _told(verb, one, cached(one.wanted), (), None, True, with_hints=False)
        keep(loop.folder.path / FILE, found)
    except Exception as problem:
        loop.folder.event(f"no estimate: {type(problem).__name__}: {problem}")
        return None
    return found


def installed_memory() -> int | None:
    """Bytes of the GPU, else of this machine; None where nobody says."""
    if device().type == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
