"""Several reward models as one reward: where they disagree, the policy is outside what they were trained on.

mean                    mean_k r_k
worst                   min_k r_k                         worst-case optimisation: Coste et al. 2023, arXiv:2310.02743, eq. 3
lower_confidence_bound  mean_k r_k - c deviation_k r_k    their uncertainty-weighted optimisation (eq. 4) takes the variance;
                                                          the deviation has the unit of the reward, so c needs no retuning
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Sequence

from plaudit.rewards.base import Context, Reward, Scores
from plaudit.rewards.mix import RewardConfig
from plaudit.schema import Completion, Prompt

DISAGREEMENT = "rewards/ensemble/std"


class EnsembleReward:
    """The members' scores as one; each member is shown as a part, their disagreement as the metric `rewards/ensemble/std`.

    Members give scores of mean 0 and deviation 1 on their training answers, so that they compare. A member without a score for
    an answer is left out there; where none has one, the reward is None.
    """

    concurrent = False

    def __init__(self, members: Sequence[Reward], options: RewardConfig, name: str = "reward_model") -> None:
        self.members, self.how, self.coefficient = members, options.reward_ensemble, options.reward_ensemble_coefficient
        self.name = name

    def score(self, prompts: Sequence[Prompt], completions: Sequence[Completion], context: Context) -> Scores:
        """One number for each row. UserError where a member fails."""
        tables = [_here(member.score(prompts, completions, context)) for member in self.members]
        for member, scores in zip(self.members, tables, strict=True):
            context.log_part(member.name, scores)
        found: Scores = []
        for row in zip(*tables, strict=True):
            some = [score for score in row if score is not None]
            found.append(self.combined(some) if some else None)
            if some:
                context.log_metric(DISAGREEMENT, deviation(some))
        return found

    def combined(self, scores: Sequence[float]) -> float:
        """One number from those of the members, by the rule at the top."""
        if self.how == "worst":
            return min(scores)
        mean = math.fsum(scores) / len(scores)
        return mean if self.how == "mean" else mean - self.coefficient * deviation(scores)


def deviation(scores: Sequence[float]) -> float:
    """Standard deviation among the members (n, as Coste et al. have it)."""
    mean = math.fsum(scores) / len(scores)
    return math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))


def together(options: RewardConfig, members: Sequence[Reward]) -> list[Reward]:
    """What the mix takes: nothing, the one reward model, or the ensemble of several."""
    return [EnsembleReward(members, options)] if len(members) > 1 else list(members)


def member_name(number: int, count: int) -> str:
    """The part's name of the reward model `number` (from 1) of `count`."""
    return "reward_model" if count == 1 else f"reward_model_{number}"


def _here(scores: Scores | Awaitable[Scores]) -> Scores:
    assert isinstance(scores, list), "reward models do not work in the background"
    return scores
