"""Many rewards, one number: the weighted sum, its normalisation, its clipping, and the rule for answers without an end."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge

from plaudit.config import config
from plaudit.rewards.base import Context, Dense, Reward, Scores
from plaudit.rewards.functions import load_function, start
from plaudit.schema import Completion, Prompt, Scored, UserError

MISSING_EOS = "missing_eos"
"""The part that says what the missing-EOS rule did to an answer's reward."""


@config
class RewardConfig:
    """What answers are rewarded for, with TRL's names."""

    reward_funcs: tuple[str, ...] = ()
    """Reward functions: registered names, module:function, or path/to/file.py:function; TRL's signature."""
    reward_weights: tuple[float, ...] | dict[str, float] | None = None
    """Weights by name (those not named count 1), or a list in order: the reward model first where there is one."""
    reward_kwargs: dict[str, dict[str, Any]] | None = None
    """Options of reward functions by name, such as {length_penalty: {upper: 120}}."""
    reward_model_path: str | tuple[str, ...] | None = None
    """A trained reward model, or a list of them, an ensemble; none where functions alone reward."""
    reward_ensemble: Literal["mean", "worst", "lower_confidence_bound"] = "mean"
    """The reward of an ensemble: the mean of its members, the lowest, or the mean less so many deviations."""
    reward_ensemble_coefficient: Annotated[float, Ge(0)] = 1.0
    """lower_confidence_bound: deviations of the members that are taken off their mean."""
    aspect_weights: dict[str, float] | None = None
    """Weights of a reward model's aspects by name; those not named count 1."""
    step_reward: Literal["min", "product", "last", "dense"] = "min"
    """Of a process reward model: the lowest chance of a step, their product, the last, or each on its step's last token."""
    missing_eos_penalty: Annotated[float, Ge(0)] | None = None
    """Subtracted from the reward of an answer that ran into the length limit."""
    missing_eos_score: float | None = None
    """Replaces the reward of an answer that ran into the length limit (Huang et al. 2024 use -1)."""
    reward_clip_range: tuple[float, float] | None = None
    """Lowest and highest reward; what lies outside is set to the nearer one."""
    reward_normalization: Literal["none", "batch"] = "none"
    """batch: the rewards of each step get mean 0 and deviation 1, before they are clipped."""

    def __post_init__(self) -> None:
        if self.missing_eos_penalty is not None and self.missing_eos_score is not None:
            raise ValueError("missing_eos_penalty subtracts and missing_eos_score replaces: set one of them, not both")
        if self.reward_clip_range is not None and not self.reward_clip_range[0] < self.reward_clip_range[1]:
            raise ValueError(f"reward_clip_range must rise, not {list(self.reward_clip_range)}")
        paths = self.reward_models
        if doubled := [path for path in paths if paths.count(path) > 1]:
            raise ValueError(f"reward_model_path names {doubled[0]} twice; an ensemble needs different reward models")
        if self.reward_ensemble != "mean" and len(paths) < 2:
            raise ValueError(f"reward_ensemble {self.reward_ensemble} needs a list of two or more in reward_model_path")

    @property
    def reward_models(self) -> tuple[str, ...]:
        """The folders of all reward models, in order."""
        path = self.reward_model_path
        return () if path is None else (path,) if isinstance(path, str) else tuple(path)


Gather = Callable[[list[float]], list[float]]
"""The values of all ranks from those of this one."""


@dataclass(frozen=True)
class RewardMix:
    """r = clip(normalise(sum_k w_k r_k)), then the missing-EOS rule, so that clipping cannot take a penalty back.

    Of an answer whose tokens earned their own (`Dense`), r is the weighted sum as of any other. Tokens keep w_k r_kt, divided
    by the deviation where rewards are normalised. What the mean, clipping and the missing-EOS rule change is the whole
    answer's, and so the last token's: tokens add up to r always, and clipping never changes which token earned what.

    A part that is None is left out of an answer's sum; an answer with no part at all has reward None: it is counted
    (`metrics`) and left out of training.
    """

    rewards: tuple[Reward, ...]
    weights: tuple[float, ...]
    options: RewardConfig = RewardConfig()  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        names = [reward.name for reward in self.rewards]
        if not names:
            raise UserError("there is nothing to reward: set reward_funcs, reward_model_path, or both")
        if doubled := [name for name in names if names.count(name) > 1 or name == MISSING_EOS]:
            raise UserError(f"more than one reward part is called {doubled[0]}; rename one of them")
        if len(names) != len(self.weights):
            raise UserError(f"reward_weights has {len(self.weights)} numbers for {len(names)} rewards ({', '.join(names)})")

    def score(
        self,
        prompts: Sequence[Prompt],
        completions: Sequence[Completion],
        context: Context | None = None,
        gather: Gather = list,
    ) -> list[Scored]:
        """One `Scored` for each completion, in order; `prompts[i]` is the prompt of `completions[i]`.

        `parts` holds each reward as its function gave it, unweighted, and what a reward is made of. `context` carries the
        state of the run in, and logged columns and metrics out. `gather` joins the values of all ranks where a statistic
        needs them. UserError: a reward function failed or returned something that is not a number.
        """
        for row, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            if prompt.id != completion.prompt_id:
                raise ValueError(f"row {row}: prompt {prompt.id} is not that of the completion, {completion.prompt_id}")
        context = context or Context()
        parts = self._parts(prompts, completions, context)
        shown = {**parts, **context.parts}
        totals = [self._total([values[row] for values in parts.values()]) for row in range(len(completions))]
        dense = [self._dense([values[row] for values in parts.values()]) for row in range(len(completions))]
        mean, deviation = self._scale(totals, gather)
        totals = self._clipped([None if total is None else (total - mean) / deviation for total in totals])
        found = []
        for row, (completion, total) in enumerate(zip(completions, totals, strict=True)):
            mine = {name: _plain(values[row]) for name, values in shown.items()}
            found.append(self._ended(Scored(completion, total, mine, tuple(token / deviation for token in dense[row]))))
        return found

    def _parts(self, prompts: Sequence[Prompt], completions: Sequence[Completion], context: Context) -> dict[str, Scores]:
        """Every reward's scores; the concurrent ones are started first and work while the others do."""
        found: dict[str, Scores | Future[Scores]] = {}
        try:
            for reward in sorted(self.rewards, key=lambda reward: not reward.concurrent):
                scores = reward.score(prompts, completions, context)
                found[reward.name] = scores if isinstance(scores, list) else start(scores)
            waited = {name: v.result() if isinstance(v, Future) else v for name, v in found.items()}
        finally:
            for values in found.values():
                if isinstance(values, Future):
                    values.cancel()  # does nothing to one that is done
        return {reward.name: waited[reward.name] for reward in self.rewards}

    def _total(self, parts: Sequence[float | None]) -> float | None:
        used = [weight * part for weight, part in zip(self.weights, parts, strict=True) if part is not None]
        return math.fsum(used) if used else None

    def _dense(self, parts: Sequence[float | None]) -> tuple[float, ...]:
        """What each token earned, weighted; () where no part is dense."""
        tables = [
            [weight * token for token in part.tokens]
            for weight, part in zip(self.weights, parts, strict=True)
            if isinstance(part, Dense)
        ]
        return tuple(math.fsum(column) for column in zip(*tables, strict=True))

    def _scale(self, totals: Scores, gather: Gather) -> tuple[float, float]:
        """Mean and deviation over all ranks, biased variance, +1e-8 under the root as in Huang et al. 2024; else 0 and 1."""
        if self.options.reward_normalization == "none":
            return 0.0, 1.0
        everyone = gather([total for total in totals if total is not None])
        if not everyone:
            return 0.0, 1.0
        mean = math.fsum(everyone) / len(everyone)
        return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in everyone) / len(everyone) + 1e-8)

    def _clipped(self, totals: Scores) -> Scores:
        if self.options.reward_clip_range is None:
            return totals
        low, high = self.options.reward_clip_range
        return [None if total is None else min(max(total, low), high) for total in totals]

    def _ended(self, scored: Scored) -> Scored:
        """The missing-EOS rule. The engine says why an answer ended; no token is looked at."""
        penalty, score, total = self.options.missing_eos_penalty, self.options.missing_eos_score, scored.reward
        if total is None or (penalty is None and score is None):
            return scored
        after = total
        if scored.completion.truncated:
            after = score if score is not None else total - penalty  # type: ignore[operator]
        return replace(scored, reward=after, parts={**scored.parts, MISSING_EOS: after - total})


def _plain(part: float | None) -> float | None:
    return None if part is None else float(part)


def mix(options: RewardConfig, models: Sequence[Reward] = ()) -> RewardMix:
    """The mix that `options` ask for: `models` (the reward model, made by the caller) first, then the functions, in order."""
    kwargs = options.reward_kwargs or {}
    functions = [load_function(name, _of(kwargs, name)) for name in options.reward_funcs]
    rewards: tuple[Reward, ...] = (*models, *functions)
    _known("reward_kwargs", kwargs, [*options.reward_funcs, *(function.name for function in functions)])
    weights = options.reward_weights
    if isinstance(weights, Mapping):
        _known("reward_weights", weights, [reward.name for reward in rewards])
        weights = tuple(weights.get(reward.name, 1.0) for reward in rewards)
    return RewardMix(rewards, tuple(weights) if weights is not None else (1.0,) * len(rewards), options)


def _of(kwargs: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """The options of `name`, given under the whole name or under the function's alone."""
    return kwargs.get(name) or kwargs.get(name.rpartition(":")[2]) or {}


def _known(option: str, given: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            advice = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
            raise UserError(f"{option} names {name}, which is not among the rewards; {advice}")


def metrics(scored: Sequence[Scored]) -> dict[str, float]:
    """TRL's names: reward, reward_std, rewards/<part>/mean and /std over the answers that have them; and what was left out.

    `rewards/unscored` counts answers with no reward. Deviations have the n - 1 of TRL's; 0 for a single answer.
    """
    found: dict[str, float] = {}
    totals = [s.reward for s in scored if s.reward is not None]
    if totals:
        found |= {"reward": _mean(totals), "reward_std": _std(totals)}
    for name in dict.fromkeys(name for s in scored for name in s.parts):
        values = [part for s in scored if (part := s.parts.get(name)) is not None]
        if values:
            found |= {f"rewards/{name}/mean": _mean(values), f"rewards/{name}/std": _std(values)}
    found["rewards/unscored"] = float(sum(s.reward is None for s in scored))
    if scored:
        found["completions/clipped_ratio"] = sum(s.completion.truncated for s in scored) / len(scored)
    return found


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _std(values: Sequence[float]) -> float:
    mean = _mean(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)) if len(values) > 1 else 0.0
