"""Where a step's batch comes from: encoded rows of a file, or answers sampled and rewarded just now."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from plaudit.core.batch import Batch, joined
from plaudit.data.collate import collate_rollouts
from plaudit.data.encode import Encoded
from plaudit.engines.base import Engine, require_token_ids
from plaudit.engines.torch_engine import TorchEngine
from plaudit.models.machine import trim
from plaudit.rewards.base import Context, TrainerState
from plaudit.rewards.mix import RewardMix
from plaudit.rewards.mix import metrics as reward_metrics
from plaudit.schema import JSON, Completion, Prompt, Sampling, Scored, UserError, content_hash
from plaudit.training.answer_figures import independent_moments, lengths, pays_length, spread, variety
from plaudit.training.feed import Feed
from plaudit.training.filter_groups import Group, fill
from plaudit.training.learner import Learner
from plaudit.training.options import RolloutConfig
from plaudit.training.usage import counted, phase, tokens

Collate = Callable[[Sequence[Encoded]], Batch]


@dataclass(frozen=True)
class Portion:
    """One step's batch, with what is to be logged of how it came about."""

    batch: Batch
    metrics: dict[str, float] = field(default_factory=dict)
    samples: list[JSON] = field(default_factory=list)


class Evaluated(NamedTuple):
    """What an evaluation gave; all empty where nothing was held out."""

    metrics: dict[str, float]
    samples: list[JSON]
    record: JSON | None = None
    """The held-out answers one by one, in an order that stays: reward, length in tokens, and the independent score."""


class Source(Protocol):
    """What the loop asks for batches and evaluations."""

    feed: Feed

    @property
    def kernels(self) -> str | None:
        """What answers are sampled with, where that decides their last bits."""
        ...

    def use(self, kernels: str) -> bool:
        """Sample with these from now on; False where they cannot be had here."""
        ...

    def at(self, step: int, learner: Learner) -> Portion:
        """The batch of step `step` (0-based): a function of seed, step and weights alone."""
        ...

    def evaluate(self, step: int, learner: Learner) -> Evaluated:
        """Metrics of held-out rows, and samples to keep; empty where there are none."""
        ...


class Rows:
    """Offline: rows of a file, in the feed's order."""

    kernels: str | None = None

    def __init__(
        self,
        rows: Sequence[Encoded],
        held_out: Sequence[Encoded],
        collate: Collate,
        feed: Feed,
        eval_rows: int,
        least: int = 1,
    ) -> None:
        """`eval_rows` held-out rows come in one batch, and never fewer than `least` where there are so many."""
        self.rows, self.held_out, self.collate, self.feed = rows, held_out, collate, feed
        self.eval_rows, self.least = max(eval_rows, least), least

    def use(self, kernels: str) -> bool:
        return False

    def at(self, step: int, learner: Learner) -> Portion:
        chosen = [self.rows[i] for i in self.feed.at(step)]
        epoch = step * self.feed.portion / self.feed.size
        return Portion(self.collate(chosen), {"epoch": epoch, "num_tokens": float(sum(item.length for item in chosen))})

    def evaluate(self, step: int, learner: Learner) -> Evaluated:
        if not len(self.held_out):
            return Evaluated({}, [])
        return Evaluated({f"eval_{name}": value for name, value in learner.evaluate(self.batches()).items()}, [])

    def batches(self) -> Iterator[Batch]:
        """The held-out rows, in order of their length."""
        known = getattr(self.held_out, "lengths", None)  # of rows that are encoded when they are needed
        lengths = [item.length for item in self.held_out] if known is None else known
        ordered = sorted(range(len(self.held_out)), key=lambda i: lengths[i])
        starts = list(range(0, len(ordered), self.eval_rows))
        if len(starts) > 1 and len(ordered) - starts[-1] < self.least:
            starts.pop()  # too few to be a batch: they join the one before
        for start, end in itertools.pairwise([*starts, len(ordered)]):
            yield self.collate([self.held_out[i] for i in ordered[start:end]])


class Rollouts:
    """Online: prompts from the feed, answers from the engine with the learner's newest weights, rewards from the mix."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        held_out: Sequence[Prompt],
        feed: Feed,
        engine: Engine,
        rewards: RewardMix,
        options: RolloutConfig,
        seed: int,
        max_steps: int = 0,
        beside: Rows | None = None,
        rounds: int = 1,
        independent: RewardMix | None = None,
    ) -> None:
        """`beside`: pre-training rows, of which a portion goes with every step (side `ptx`).

        `independent` scores evaluations, and nothing is trained on it.
        `rounds`: with more than 1, a step samples so often at most, until it is full of groups that teach (`fill`).
        """
        require_token_ids(engine, "policy-gradient training")
        self.prompts, self.held_out, self.feed, self.engine = prompts, held_out[: options.num_eval_prompts], feed, engine
        self.rewards, self.options, self.seed, self.max_steps = rewards, options, seed, max_steps
        self.beside, self.rounds, self.independent = beside, rounds, independent
        self.asked: dict[str, Prompt] = {}
        """The prompts of the last answers."""

    @property
    def kernels(self) -> str | None:
        return self.engine.kernels if isinstance(self.engine, TorchEngine) else None

    def use(self, kernels: str) -> bool:
        return isinstance(self.engine, TorchEngine) and self.engine.use(kernels)

    def sampling(self, seed: int) -> Sampling:
        """The options as the engine takes them, with a seed of this step's own."""
        o = self.options
        return Sampling(o.max_completion_length, o.temperature, o.top_k, o.top_p, o.min_p, tuple(o.stop or ()), (), seed)

    def at(self, step: int, learner: Learner) -> Portion:
        clock, n = time.perf_counter(), self.options.num_generations
        self.asked = {}
        logged: dict[str, list[float]] = {}
        generating: list[float] = []

        def ask(rows: Sequence[int], number: int) -> list[Group]:
            prompts = [self.prompts[i] for i in rows]
            found, context, seconds = self._answer(prompts, n, self._seed(step, number), step, learner)
            generating.append(seconds)
            for name, values in context.metrics.items():
                logged.setdefault(name, []).extend(values)
            return [found[start : start + n] for start in range(0, len(found), n)]

        filled = fill(self.feed, step, self.rounds, ask)
        self._rest()
        kept = [(place, item) for place, group in enumerate(filled.trained) for item in group if item.reward is not None]
        if not kept:
            raise UserError(f"step {step + 1}: no answer has a reward; let at least one reward function apply to every prompt")
        scored = [item for group in filled.sampled for item in group]
        found = {
            **reward_metrics(scored),
            **lengths(scored),
            **spread(filled.sampled),
            **pays_length(filled.sampled),
            **(filled.metrics if self.rounds > 1 else {}),
            **{name: sum(values) / len(values) for name, values in logged.items() if values},
            "val/num_eos_tokens": float(sum(not item.completion.truncated for item in scored)),
            "episode": float((step + 1) * self.feed.portion * n),
            "num_tokens": float(sum(len(item.completion.prompt_tokens) + len(item.completion.tokens) for item in scored)),
            "time/generate": sum(generating),
            "time/rollouts": time.perf_counter() - clock,
        }
        batch = collate_rollouts([item for _, item in kept], group=[place for place, _ in kept])
        if self.beside is not None:
            batch = with_pretraining(batch, self.beside.at(step, learner).batch)
        return Portion(batch, found, [self.sample(item) for item in scored[:2]])

    def evaluate(self, step: int, learner: Learner) -> Evaluated:
        """One answer to each held-out prompt, with the same seeds at every evaluation."""
        if not self.held_out:
            return Evaluated({}, [])
        scored = self.sampled(self.held_out, step, learner)
        if all(item.reward is None for item in scored):
            raise UserError(
                "of the held-out prompts no answer has a reward; let at least one reward function apply to them, or set "
                "eval_fraction=0"
            )
        found = {f"eval_{name}": value for name, value in reward_metrics(scored).items()}
        record: JSON = {"reward": [item.reward for item in scored], "length": [len(item.completion.tokens) for item in scored]}
        found |= {f"eval_completions/{name}": value for name, value in variety(scored).items()}
        if self.independent is not None:
            record["independent"] = self._independent(scored, step)
            found |= independent_moments([value for value in record["independent"] if value is not None])
        return Evaluated(found, [self.sample(item) | {"held_out": True} for item in scored[:4]], record)

    def _independent(self, scored: Sequence[Scored], step: int) -> list[float | None]:
        """The independent score of each answer."""
        assert self.independent is not None
        context = Context(TrainerState(step, self.max_steps))
        with phase("reward"):
            found = self.independent.score(self.held_out, [item.completion for item in scored], context)
        if all(item.reward is None for item in found):
            raise UserError("no held-out answer has an independent score; let one of independent_reward_funcs apply to them")
        return [item.reward for item in found]

    def _answer(
        self, prompts: Sequence[Prompt], n: int, seed: int, step: int, learner: Learner
    ) -> tuple[list[Scored], Context, float]:
        completions, seconds = self._generate(prompts, n, seed, step, learner)
        context = Context(TrainerState(step, self.max_steps))
        by_prompt = [prompt for prompt in prompts for _ in range(n)]
        with phase("reward"):
            return self.rewards.score(by_prompt, completions, context), context, seconds

    @counted("rollout")
    def _generate(
        self, prompts: Sequence[Prompt], n: int, seed: int, step: int, learner: Learner
    ) -> tuple[list[Completion], float]:
        """Answers of the learner's newest weights, and the seconds that generating them took."""
        version = f"step-{learner.steps}"
        if self.engine.version != version:
            learner.rest()
            self.engine.load(learner.networks["policy"].weights(), version)
        self.asked |= {prompt.id: prompt for prompt in prompts}
        clock = time.perf_counter()
        try:
            completions = self.engine.generate(prompts, n, self.sampling(seed))
        except FloatingPointError as problem:
            raise UserError(
                f"step {step + 1}: {problem}: the weights have gone astray; start again with a lower learning_rate or "
                "max_grad_norm, or set bf16: false"
            ) from problem
        seconds = time.perf_counter() - clock
        if any(completion.policy != version for completion in completions):
            raise RuntimeError(f"the engine answered with other weights than {version}: the sampler is stale")
        tokens("generated", sum(len(completion.tokens) for completion in completions))
        return completions, seconds

    def _rest(self) -> None:
        """The engine's memory is free for what comes now: after an update it needs other weights anyway."""
        if isinstance(self.engine, TorchEngine):
            self.engine.unload()
        trim()

    def _seed(self, step: int, number: int = 0) -> int:
        """Of a round of a step; a prompt that comes up in two rounds has other answers in each."""
        return int(content_hash([self.seed, step, *([number] if number else [])]), 16) >> 1

    def sampled(self, prompts: Sequence[Prompt], step: int, learner: Learner, n: int = 1) -> list[Scored]:
        """`n` rewarded answers to each prompt, with the seeds of evaluations."""
        self.asked = {}
        scored = self._answer(prompts, n, self._seed(-1), step, learner)[0]
        self._rest()
        return scored

    def sample(self, item: Scored) -> JSON:
        """An answer as samples.jsonl keeps it."""
        prompt = self.asked[item.completion.prompt_id]
        return {
            "prompt": prompt.text if prompt.text is not None else prompt.messages[-1].content,
            "answer": item.completion.text,
            "reward": item.reward,
            "parts": item.parts,
            "truncated": item.completion.truncated,
        }


def with_pretraining(answers: Batch, rows: Batch) -> Batch:
    """Sampled answers and pre-training rows behind them, told apart by the side `ptx`."""
    marked = [
        batch.with_(sides={"ptx": batch.mask.new_full((len(batch),), mark)}) for batch, mark in ((answers, 0.0), (rows, 1.0))
    ]
    return joined(*marked)
