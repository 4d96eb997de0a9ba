"""Proximal policy optimisation with a critic, for language models.

    maximise E_t[ min(rho_t A_t, clip(rho_t, 1 - eps, 1 + eps) A_t) ] + c_H H(pi)      Schulman et al. 2017, eq. 7
    minimise c_V E_t[ max((V_t - R_t)^2, (clip(V_t, V_old +- eps_V) - R_t)^2) / 2 ]
    rho_t = pi(y_t) / pi_old(y_t)
    r_t   = - beta kl_t + [t is the last token] score                                   Ziegler et al. 2019, eq. 2
    A_t   = sum_l (gamma lambda)^l (r_{t+l} + gamma V_{t+l+1} - V_{t+l}), R_t = A_t + V_t   Schulman et al. 2016, eq. 16
    maximise + c_ptx E_pretraining[ log pi(x_t) ]                       Ouyang et al. 2022 (arXiv:2203.02155), eq. 2 (PPO-ptx)

What was left out on purpose: a value head on the policy's own trunk (the critic is a network of its own, started from the
reward model), and padding in any statistic. Defaults follow Huang et al. 2024 (arXiv:2403.17031, "The N+ implementation
details of RLHF with PPO").
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le

from plaudit.algorithms import policy
from plaudit.algorithms.base import Algorithm, Moments, Tensor, Want
from plaudit.config import config
from plaudit.core import advantage, kl, masked, surrogate
from plaudit.core import value as critic
from plaudit.core.batch import Batch, Outputs


@config
class PPOConfig:
    """Options of PPO, with TRL's names where TRL had them."""

    num_ppo_epochs: Annotated[int, Ge(1)] = 4
    """Passes over each batch of answers."""
    num_mini_batches: Annotated[int, Ge(1)] = 1
    """Optimiser steps in each pass: the batch is cut into this many parts."""
    cliprange: Annotated[float, Gt(0)] = 0.2
    """eps: how far the ratio may move from 1 before the gradient is cut."""
    cliprange_value: Annotated[float, Gt(0)] = 0.2
    """eps_V: how far a value may move from what it was when the answers were scored."""
    critic_learning_rate: Annotated[float, Gt(0)] | None = None
    """Peak learning rate of the critic; none is that of the policy."""
    vf_coef: Annotated[float, Ge(0)] = 0.1
    """c_V: weight of the value loss."""
    entropy_coef: Annotated[float, Ge(0)] = 0.0
    """c_H: weight of the entropy bonus; 0 leaves it out."""
    kl_coef: Annotated[float, Ge(0)] = 0.05
    """beta: price of one nat of KL to the reference, per token (where the adaptive controller starts)."""
    kl_estimator: kl.Estimator = "k1"
    """k1: log ratio; k2: half its square; k3: never negative, low variance (Schulman 2020)."""
    kl_target: Annotated[float, Gt(0)] | None = None
    """KL per answer (nats) that an adaptive kl_coef steers to; none keeps kl_coef fixed."""
    kl_horizon: Annotated[float, Gt(0)] = 10_000.0
    """Answers over which the adaptive kl_coef may change by at most 20 %, times 1/0.2."""
    target_kl: Annotated[float, Gt(0)] | None = None
    """KL budget of one update: its remaining passes are left out once the mean policy/approxkl of a pass exceeds this
    (nats per token)."""
    gamma: Annotated[float, Gt(0), Le(1)] = 1.0
    """Discount per token."""
    lam: Annotated[float, Ge(0), Le(1)] = 0.95
    """lambda of generalised advantage estimation."""
    critic_head: Literal["reward_model", "zero"] = "reward_model"
    """The critic starts from the reward model; its head too (reward_model), or its head at 0 (zero: Ziegler et al. 2019)."""
    whiten_advantages: bool = True
    """Advantages with mean 0 and deviation 1 over all answer tokens of the batch, all ranks together."""
    whiten_rewards: bool = False
    """Token rewards scaled to deviation 1; their mean is kept."""
    ptx_coef: Annotated[float, Ge(0)] = 0.0
    """c_ptx: weight of the log-likelihood of pre-training rows that are trained on beside the answers; 0 leaves them out."""
    ptx_file: str | None = None
    """Demonstrations or texts that the policy must not forget; a portion of them goes with every step."""
    ptx_batch_size: Annotated[int, Ge(1)] | None = None
    """Rows of ptx_file in each step; none takes as many as there are prompts."""

    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"learning_rate": 3e-6, "lora_learning_rate": 1e-4, "adam_epsilon": 1e-5, "lr_scheduler_type": "linear"}
    )

    def __post_init__(self) -> None:
        if self.ptx_coef and self.ptx_file is None:
            raise ValueError("ptx_coef needs ptx_file, the rows that the policy must not forget")
        if self.ptx_file is not None and not self.ptx_coef:
            raise ValueError("ptx_file does nothing while ptx_coef is 0; set ptx_coef, or take ptx_file out")


class PPO(Algorithm):
    Config = PPOConfig
    eats = "prompts"
    networks: ClassVar[Mapping[str, frozenset[Want]]] = MappingProxyType(
        {"policy": frozenset({"logp", "entropy"}), "critic": frozenset({"value"})}
    )
    reads = frozenset({"old", "entropy", "value", "ref"})
    best = ("eval_reward", True)
    shown = ("reward", "objective/kl", "policy/entropy_avg")

    def __init__(self, options: PPOConfig, temperature: float = 1.0) -> None:
        super().__init__(options, temperature)
        self.epochs, self.mini_batches = options.num_ppo_epochs, options.num_mini_batches
        self.critic_head = options.critic_head
        if options.critic_learning_rate is not None:
            self.learning_rates = {"critic": options.critic_learning_rate}
        self.controller = kl.Controller(options.kl_coef, options.kl_target, options.kl_horizon)
        self.pretraining_file, self.pretraining_rows = options.ptx_file, options.ptx_batch_size

    def prepare(self, batch: Batch, total: masked.Total = masked.here) -> Batch:
        """Needs streams old, ref, value, entropy and the side reward; adds kl, token_reward, advantage, returns, weights.

        A stream `dense`, where there is one, holds the parts of the rewards that belong to tokens. Rows whose side `ptx` is 1
        are there for their log-likelihood alone: nothing else counts them.
        """
        o, mask = self.options, policy.answers(batch)
        kl_t = kl.estimate(batch["old"], batch["ref"], o.kl_estimator) * mask
        reward = advantage.token_rewards(batch["reward"], kl_t, mask, self.controller.coefficient, batch.streams.get("dense"))
        if o.whiten_rewards:
            reward = masked.whiten(reward, mask, keep_mean=True, total=total)
        adv, returns = advantage.gae(reward, batch["value"], mask, o.gamma, o.lam)
        if o.whiten_advantages:
            adv = masked.whiten(adv, mask, total=total)
        return batch.with_(
            streams={"kl": kl_t, "token_reward": reward, "advantage": adv, "returns": returns},
            weight={"policy": mask, "value": mask, "entropy": mask, **self._pretraining(batch)},
        )

    def _pretraining(self, batch: Batch) -> dict[str, Tensor]:
        """The weight of the term `ptx`, where it is switched on."""
        if not self.options.ptx_coef:
            return {}
        if "ptx" not in batch.sides:
            return {"ptx": torch.zeros_like(batch.mask)}
        weight = batch["ptx"] * batch["weight"] if "weight" in batch.sides else batch["ptx"]
        return {"ptx": batch.mask * weight[:, None]}

    def loss(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        o, terms = self.options, {}
        if outputs.logp is not None:
            terms["policy"] = surrogate.clipped(outputs.logp, batch["old"], batch["advantage"], o.cliprange, o.cliprange)
            if o.entropy_coef:
                assert outputs.entropy is not None
                terms["entropy"] = -o.entropy_coef * outputs.entropy
            if o.ptx_coef:
                terms["ptx"] = -o.ptx_coef * outputs.logp
        if outputs.value is not None:
            terms["value"] = o.vf_coef * critic.clipped_value_loss(
                outputs.value, batch["value"], batch["returns"], o.cliprange_value
            )
        return terms

    def metrics(self, outputs: Outputs, batch: Batch) -> dict[str, Moments]:
        o, mask, found = self.options, policy.answers(batch), {}
        if outputs.logp is not None:
            assert outputs.entropy is not None
            log_ratio = outputs.logp.detach() - batch["old"]
            clipped = surrogate.clip_fraction(outputs.logp.detach(), batch["old"], batch["advantage"], o.cliprange, o.cliprange)
            found = {
                "policy/approxkl_avg": Moments.of(0.5 * log_ratio**2, mask),
                "policy/clipfrac_avg": Moments.of(clipped, mask),
                "policy/entropy_avg": Moments.of(outputs.entropy, mask),
                "val/ratio": Moments.of(log_ratio.exp(), mask),
            }
            if "ptx" in batch.sides:
                found["ptx/nll"] = Moments.of(-outputs.logp, batch.mask * batch["ptx"][:, None])
        if outputs.value is not None:
            moved = (outputs.value.detach() - batch["value"]).abs() > o.cliprange_value
            found["val/clipfrac_avg"] = Moments.of(moved.to(mask.dtype), mask)
        return found

    def summarise(self, moments: Mapping[str, Moments]) -> dict[str, float]:
        means = {name: moment.mean for name, moment in moments.items()}
        if "val/ratio" in moments:
            means["val/ratio_var"] = moments["val/ratio"].variance
        return means

    def describe(self, batch: Batch, total: masked.Total = masked.here) -> dict[str, float]:
        mask, rows = policy.answers(batch), policy.sampled(batch).to(batch["reward"].dtype)
        penalty = -self.controller.coefficient * batch["kl"].sum(-1)

        def per_answer(x: Tensor) -> float:
            return float(masked.mean(x, rows, total))

        return {
            **policy.sampler_gap(batch, total),
            "objective/kl": per_answer(batch["kl"].sum(-1)),
            "objective/entropy": float(masked.mean(batch["entropy"], mask, total)),
            "objective/non_score_reward": per_answer(penalty),
            "objective/rlhf_reward": per_answer(penalty + batch["reward"]),
            "objective/scores": per_answer(batch["reward"]),
            "objective/scores_std": float(masked.variance(batch["reward"], rows, total).sqrt()),
            "objective/kl_coef": self.controller.coefficient,
            "val/explained_variance": float(critic.explained_variance(batch["value"], batch["returns"], mask, total)),
        }

    def enough(self, moments: Mapping[str, Moments]) -> bool:
        budget = self.options.target_kl
        return budget is not None and "policy/approxkl_avg" in moments and moments["policy/approxkl_avg"].mean > budget

    def after(self, described: Mapping[str, float], rows: int) -> None:
        self.controller = self.controller.after(described["objective/kl"], rows)

    def state(self) -> dict[str, Any]:
        return {"kl_coef": self.controller.coefficient}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.controller = kl.Controller(state["kl_coef"], self.options.kl_target, self.options.kl_horizon)
