"""GRPO: an answer is worth what it earned beyond its siblings; no critic. With the variants that grew from it.

    A_i = (r_i - mean(r_group)) / (std(r_group) + 1e-4)                               Shao et al. 2024 (arXiv:2402.03300), eq. 3
    minimise - sum_it w_it [ min(rho_it A_i, clip(rho_it, 1 - eps, 1 + eps_high) A_i) - beta rho_it k3_it ]

    grpo     w_it = 1 / |y_i|, then the mean over answers: every answer counts the same          (Shao et al. 2024)
    bnpo     w_it = 1, then the mean over tokens of the optimiser step                           (arXiv:2506.02355)
    dapo     the same; epsilon_high above epsilon is clip-higher, filter_groups dynamic sampling (arXiv:2503.14476, eq. 8, 11)
    dr_grpo  w_it = 1 / max_completion_length, a fixed number, then the mean over answers: no length bias; with
             scale_rewards=none, no difficulty bias either                                       (arXiv:2503.20783)
    cispo    - sg[min(rho_it, eps_high)] A_i log pi(y_it): the weight is clipped, not the gradient (arXiv:2506.13585, eq. 4)
    gspo     importance_sampling_level=sequence: rho_i = exp(mean_t log ratio), with loss_type=grpo (arXiv:2507.18071)

rho_it before k3_it makes the gradient that of the KL (arXiv:2512.02556, eq. 7); use_bias_correction_kl=false leaves it out.
bnpo and dapo differ elsewhere in how accumulation is averaged; here weights are summed over the whole step, so they are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt

from plaudit.algorithms import policy
from plaudit.algorithms.base import Algorithm, Moments, Stream, Tensor, Want
from plaudit.config import config
from plaudit.core import advantage, kl, masked, surrogate
from plaudit.core.batch import Batch, Outputs

SCALE_EPSILON = 1e-4
"""Added to a group's deviation, as in TRL: a group that earned almost the same is not blown up."""


@config
class GRPOConfig:
    """Options of GRPO, with TRL's names."""

    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo"] = "dapo"
    """How tokens are weighed; see the head of the page."""
    beta: Annotated[float, Ge(0)] = 0.0
    """Price of the KL to the reference, in the loss (k3); 0 needs no reference."""
    use_bias_correction_kl: bool = True
    """The KL term is multiplied with the ratio, so that its gradient is that of the KL; false is the original GRPO."""
    epsilon: Annotated[float, Gt(0)] = 0.2
    """How far the ratio may fall below 1 before the gradient is cut."""
    epsilon_high: Annotated[float, Gt(0)] | None = None
    """How far it may rise; none takes epsilon. DAPO uses 0.28; for cispo it is the largest weight itself (5 is usual)."""
    delta: Annotated[float, Gt(1)] | None = None
    """Largest ratio that a negative advantage is multiplied with (dual clip); none leaves it unbounded."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """Ratio of each token, or of the whole answer (GSPO: with loss_type grpo and epsilon around 3e-4)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Rewards are divided by their deviation in the group, in the whole batch, or not."""
    num_iterations: Annotated[int, Ge(1)] = 1
    """Passes over each batch of answers."""
    num_mini_batches: Annotated[int, Ge(1)] = 1
    """Optimiser steps in each pass: the batch is cut into this many parts."""
    mask_truncated_completions: bool = False
    """Answers that ran into the length limit are not trained on."""
    filter_groups: bool = False
    """Dynamic sampling (DAPO): sample further prompts until a step is full of those whose answers earned differently."""
    max_num_gen_batches: Annotated[int, Ge(1)] = 10
    """With filter_groups: rounds of sampling in a step at most; then prompts whose answers earned the same fill it up."""
    entropy_coef: Annotated[float, Ge(0)] = 0.0
    """Entropy bonus (nats per token); 0 leaves it out."""
    importance_sampling_cap: Annotated[float, Gt(0)] | None = None
    """Truncated importance sampling: tokens are weighed by min(trainer / sampler, cap); none leaves it out."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 1e-6, "lora_learning_rate": 5e-5, "num_generations": 8, "lr_scheduler_type": "linear"}
    )

    def __post_init__(self) -> None:
        if self.loss_type == "cispo" and self.epsilon_high is None:
            raise ValueError("loss_type cispo needs epsilon_high, the largest weight of a token; 5.0 is usual")


class GRPO(Algorithm):
    Config = GRPOConfig
    eats = "prompts"
    siblings = 2
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType({"policy": frozenset({"logp", "entropy"})})
    best = ("eval_reward", True)
    shown = ("reward", "entropy", "completions/mean_length")

    def __init__(self, options: GRPOConfig, temperature: float = 1.0) -> None:
        super().__init__(options, temperature)
        self.epochs, self.mini_batches = options.num_iterations, options.num_mini_batches
        self.gen_batches = options.max_num_gen_batches if options.filter_groups else 1
        once = self.epochs == self.mini_batches == 1
        needed: list[tuple[Stream, bool]] = [("ref", options.beta > 0), ("old", not once)]
        self.reads = frozenset(stream for stream, wanted in needed if wanted)
        self.high = options.epsilon if options.epsilon_high is None else options.epsilon_high

    def advantages(self, batch: Batch, total: masked.Total) -> Tensor:
        """[R]: reward minus the group's mean, scaled as the options say."""
        reward, how = batch["reward"], self.options.scale_rewards
        centred = reward - advantage.group_mean(reward, batch.group)
        if how == "group":
            return centred / (advantage.group_deviation(reward, batch.group) + SCALE_EPSILON)
        if how == "batch":
            rows = reward.new_ones(len(batch))
            count = total(rows.sum())
            spread = masked.variance(reward, rows, total) * count / (count - 1).clamp(min=1)
            return centred / (spread.sqrt() + SCALE_EPSILON)
        return centred

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs the sides reward, truncated and limit; adds the side advantage and the weights."""
        o, mask = self.options, batch.mask
        used = mask * (1 - batch["truncated"])[:, None] if o.mask_truncated_completions else mask
        weight = used / mask.sum(-1, keepdim=True).clamp(min=1) if o.loss_type == "grpo" else used
        fixed = {"policy": batch["limit"], "kl": batch["limit"]} if o.loss_type == "dr_grpo" else {}
        return batch.with_(
            sides={"advantage": self.advantages(batch, total)},
            weight={"policy": weight, "kl": weight, "entropy": used},
            denominator=fixed,
        )

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        o, a, logp = self.options, batch["advantage"][:, None], outputs.logp
        assert logp is not None
        old = policy.old_logp(outputs, batch)
        log_ratio = self._log_ratio(logp, old, batch)
        if o.loss_type == "cispo":
            term = surrogate.clipped_weight(log_ratio, logp, a, self.high)
        else:
            term = surrogate.two_sided(log_ratio, a, o.epsilon, self.high, o.delta).expand_as(logp)
        if o.importance_sampling_cap is not None:
            term = term * surrogate.truncated_weight(old, batch["sampler"], o.importance_sampling_cap)
        terms = {"policy": term}
        if o.beta:
            estimate = kl.estimate(logp, batch["ref"], "k3")
            terms["kl"] = o.beta * (estimate * log_ratio.exp() if o.use_bias_correction_kl else estimate)
        if o.entropy_coef:
            assert outputs.entropy is not None
            terms["entropy"] = -o.entropy_coef * outputs.entropy
        return terms

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        o, logp = self.options, outputs.logp
        assert logp is not None
        clipped = self._log_ratio(logp, policy.old_logp(outputs, batch), batch)
        low, high = (1.0, self.high - 1) if o.loss_type == "cispo" else (o.epsilon, self.high)
        found = policy.ratio_metrics(outputs, batch, low, high, batch["advantage"][:, None], clipped)
        if self.reference:
            found["kl"] = Moments.of(kl.estimate(logp.detach(), batch["ref"], "k3"), batch.mask)
        return found

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        return policy.summarise(moments)

    def describe(self, batch: Batch, total: masked.Total = masked.here) -> dict[str, float]:
        return {**policy.sampler_gap(batch, total), **policy.reward_metrics(batch, batch["advantage"], total)}

    def _log_ratio(self, logp: Tensor, old: Tensor, batch: Batch) -> Tensor:
        """The log ratio that is clipped: of each token, [R, T], or of each answer, [R, 1]."""
        log_ratio = logp - old
        whole = self.options.importance_sampling_level == "sequence"
        return surrogate.sequence_log_ratio(log_ratio, batch.mask) if whole else log_ratio
