"""A reward model of several aspects as one reward: their weighted sum, with each aspect as a part."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.models.network import Network
from plaudit.models.scorer import Scorer
from plaudit.rewards.base import Context, Reward, Scores
from plaudit.rewards.mix import RewardConfig
from plaudit.rewards.model import ModelReward
from plaudit.rewards.steps import StepReward
from plaudit.schema import Completion, Prompt, UserError


class AspectReward(ModelReward):
    """sum_a w_a r_a; each r_a, unweighted, is shown as the part `<name>.<aspect>`."""

    def __init__(
        self, scorer: Scorer, tokenizer: Any, weights: Mapping[str, float], name: str = "reward_model", **settings: Any
    ) -> None:
        super().__init__(self._weighed, tokenizer, name, **settings)
        self.heads, self.weights = scorer, weights
        self.table: list[list[float]] = []

    def _weighed(self, rows: list[list[int]]) -> list[float]:
        self.table = self.heads.each(rows)
        return [math.fsum(w * x for w, x in zip(self.weights.values(), row, strict=True)) for row in self.table]

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion], context: Context) -> Scores:
        """The weighted sums; None where a row was too long."""
        self.table = []
        found = super().score(prompts, completions, context)
        rows = iter(self.table)
        each = [None if total is None else next(rows) for total in found]
        for place, aspect in enumerate(self.weights):
            context.log_part(f"{self.name}.{aspect}", [None if row is None else row[place] for row in each])
        return found


def weights_of(aspects: Sequence[str], given: Mapping[str, float] | None) -> dict[str, float]:
    """The weight of each aspect, 1 where none is given. UserError for one that the reward model does not have."""
    for name in given or {}:
        if name not in aspects:
            near = difflib.get_close_matches(name, aspects, n=1)
            there = f"did you mean {near[0]}?" if near else f"it has {', '.join(aspects) or 'no aspects at all'}"
            raise UserError(f"aspect_weights names {name}, which is not among the reward model's aspects; {there}")
    return {aspect: (given or {}).get(aspect, 1.0) for aspect in aspects}


def reward_of(network: Network, name: str, options: RewardConfig, *, batch_size: int, policy_tokenizer: Any) -> Reward:
    """A loaded reward model as a reward, whatever its kind."""
    scorer, tokenizer = Scorer(network, batch_size), network.base.tokenizer
    weights = weights_of(network.aspects, options.aspect_weights)
    if network.step_separator:
        return StepReward(network, options.step_reward, name, batch_size=batch_size, policy_tokenizer=policy_tokenizer)
    if weights:
        return AspectReward(scorer, tokenizer, weights, name, policy_tokenizer=policy_tokenizer)
    return ModelReward(scorer, tokenizer, name, policy_tokenizer=policy_tokenizer)
