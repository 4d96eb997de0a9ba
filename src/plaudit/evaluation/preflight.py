"""Before any RL: how far may this reward be optimised? From N samples of each prompt, scored by it and by another.

Best of n climbs the reward at a known price, KL = ln n - (n - 1)/n nats. Where the independent score turns while the reward
still rises, RL would be rewarded for getting worse (Gao et al. 2022, arXiv:2210.10760). KL means less in best of n than in RL,
which spends more of it for the same reward, so the KL of the turn is a careful budget, and the reward at the turn the better
sign to stop at.

The coefficient comes from what RL with a KL penalty converges to, pi*(y) proportional to pi_ref(y) exp(r(y) / beta): the same
samples, weighed by exp(r / beta), say what reward, what independent score and how much KL each beta ends with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from plaudit.config import config
from plaudit.rewards.mix import RewardConfig
from plaudit.schema import JSON, UserError
from plaudit.stats import Floats, bootstrap_mean, kl_of_best_of_n, turning_point
from plaudit.stats import best_of_n as expected_best

FEW_PROMPTS = 100
STEADY = 0.2
"""Samples that the weights must be spread over, as a share of N, for a coefficient to be read off them."""


@config
class PreflightConfig:
    """The independent score: of what the reward is a proxy for."""

    independent_reward_funcs: tuple[str, ...] = ()
    """Reward functions that score answers by something else than the reward: a gold rule, tests, a classifier."""
    independent_reward_model_path: str | tuple[str, ...] | None = None
    """A reward model trained on other labels (the other half of them is enough), or a list of them."""

    @property
    def rewards(self) -> RewardConfig:
        """The same as the options of a reward."""
        return RewardConfig(reward_funcs=self.independent_reward_funcs, reward_model_path=self.independent_reward_model_path)

    @property
    def given(self) -> bool:
        return bool(self.independent_reward_funcs or self.independent_reward_model_path)


def table_of(scores: Sequence[Sequence[float | None]], what: str) -> tuple[Floats, list[int]]:
    """[prompts, N] of the prompts whose samples all have a score, and their numbers. UserError where there are none."""
    kept = [p for p, row in enumerate(scores) if row and None not in row]
    if not kept:
        raise UserError(f"no prompt has {what} for all of its answers; see which reward gives None")
    return np.array([scores[p] for p in kept], dtype=float), kept


def sizes_of(samples: int) -> list[int]:
    """1, 2, 4, ... and N itself."""
    return sorted({*(2**k for k in range(samples.bit_length())), samples})


def preflight(proxy: Floats, independent: Floats | None, *, seed: int = 0) -> JSON:
    """Curves, fit, turn and advice; both tables are [prompts, N]. ValueError where N is below 4."""
    prompts, samples = proxy.shape
    if samples < 4:
        raise ValueError(f"the curve needs four samples of each prompt at least, got {samples}")
    sizes = sizes_of(samples)
    result: JSON = {
        "prompts": prompts,
        "samples": samples,
        "reward_deviation_within_prompts": float(proxy.std(1, ddof=1).mean()),
        "best_of_n": [_row(n, proxy, independent, seed) for n in sizes],
        "tilted": [],
    }
    if independent is None:
        return {**result, "advice": _blind()}
    fit, turn = turning_point(proxy, independent, sizes, seed=seed)
    curve = np.array([row["independent"] for row in result["best_of_n"]])
    best = int(np.argmax(curve))
    result["fit"] = {"alpha": fit.alpha, "beta": fit.beta, "r2": fit.r2}
    # None: the fitted curve does not turn at all.
    kl, low, high = (value if math.isfinite(value) else None for value in turn.kl)
    result["turning_point"] = {"kl": kl, "kl_ci": [low, high], "turns_within": turn.turns}
    result["best_n"] = sizes[best]
    result["tilted"] = tilted(proxy, independent)
    return {**result, "advice": advice(result, prompts)}


def _row(n: int, proxy: Floats, independent: Floats | None, seed: int) -> JSON:
    found: JSON = {"n": n, "kl": kl_of_best_of_n(n)}
    for name, values in (("reward", proxy), ("independent", independent)):
        if values is not None:
            interval = bootstrap_mean(expected_best(proxy, values, n), resamples=1000, seed=seed)
            found |= {name: interval.mean, f"{name}_ci": [interval.low, interval.high]}
    return found


def tilted(proxy: Floats, independent: Floats, steps: int = 25) -> list[JSON]:
    """For each coefficient, from strict to loose: what the KL-regularised optimum would earn, by weighing the samples.

    `spread` is the effective share of samples that carry the weight (Kish 1965); below a fifth the row says little.
    """
    scale = float(proxy.std(1).mean())
    if scale == 0:
        return []
    found = []
    for beta in scale * np.geomspace(10, 0.05, steps):
        logits = proxy / beta
        logits = logits - logits.max(1, keepdims=True)
        weights = np.exp(logits)
        weights /= weights.sum(1, keepdims=True)
        kl = (weights * np.log(np.maximum(weights * proxy.shape[1], 1e-300))).sum(1)
        found.append(
            {
                "kl_coef": float(beta),
                "kl": float(kl.mean()),
                "reward": float((weights * proxy).sum(1).mean()),
                "independent": float((weights * independent).sum(1).mean()),
                "spread": float((1 / (weights**2).sum(1)).mean() / proxy.shape[1]),
            }
        )
    return found


def advice(result: JSON, prompts: int) -> JSON:
    """What to set, in the options of `train`, and why. `verdict`: turns, does not turn, gains nothing, or unclear."""
    curve, turn, n = result["best_of_n"], result["turning_point"], result["best_n"]
    first, best, last = curve[0], next(row for row in curve if row["n"] == n), curve[-1]
    noise = (
        "" if prompts >= FEW_PROMPTS else f" {prompts} prompts are few: with {FEW_PROMPTS} or more the turn is told from noise."
    )
    gain = best["independent"] - first["independent"]
    half = (best["independent_ci"][1] - best["independent_ci"][0]) / 2
    if gain <= 0 or n == 1:
        says = "The independent score falls from the first step: this reward is not to be optimised." + noise
        return {"verdict": "gains nothing", "says": says, "config": {}}
    falls = best["independent"] - last["independent"]
    turns = turn["turns_within"]
    if turns >= 0.9 and falls > 0:
        budget = best["kl"] if turn["kl"] is None else min(turn["kl"], last["kl"])
        chosen = _coefficient(result["tilted"])
        set_to: dict[str, Any] = {"kl_target": round(budget, 2)}
        if chosen is not None:
            set_to["kl_coef"] = float(f"{chosen['kl_coef']:.2g}")
        says = (
            f"The independent score turns near {budget:.2g} nats (best of {n}), at a reward of {best['reward']:.3g}: stop when "
            f"the mean reward gets there, and keep the KL below that.{noise}"
        )
        return {"verdict": "turns", "says": says, "config": set_to, "stop_at_reward": best["reward"]}
    if turns >= 0.5 or falls > half:
        near = turn["kl"] or best["kl"]
        says = f"The independent score may turn near {near:.2g} nats; ask more prompts, or take more samples of each.{noise}"
        return {"verdict": "unclear", "says": says, "config": {"kl_target": round(best["kl"], 2)}}
    chosen = _coefficient(result["tilted"])
    says = f"The independent score still rises at best of {last['n']} ({last['kl']:.2g} nats): no turn in these samples.{noise}"
    set_to = {} if chosen is None else {"kl_coef": float(f"{chosen['kl_coef']:.2g}")}
    return {"verdict": "does not turn", "says": says, "config": set_to}


def _coefficient(rows: Sequence[JSON]) -> JSON | None:
    """The coefficient with the best independent score among those that the samples can speak for."""
    good = [row for row in rows if row["spread"] >= STEADY]
    return max(good, key=lambda row: float(row["independent"])) if good else None


def _blind() -> JSON:
    says = (
        "Without an independent score nobody sees the turn: give independent_reward_funcs or independent_reward_model_path, "
        "such as a reward model trained on the other half of the labels."
    )
    return {"verdict": "unknown", "says": says, "config": {}}
