"""One name for each quantity, and what Plaudit, TRL, verl and OpenRLHF call it in their logs.

Units: KL and entropy in nats, lengths in tokens, shares from 0 to 1. `kl_answer` is summed over an answer's tokens (Plaudit's
and TRL's PPO), `kl_token` is a mean over tokens (TRL's GRPO, verl, OpenRLHF).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from plaudit.evaluation.doctor.evidence import Points

NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "reward": ("objective/scores", "reward", "critic/score/mean", "critic/rewards/mean"),
        "reward_std": ("objective/scores_std", "reward_std"),
        "kl_answer": ("objective/kl",),
        "kl_token": ("kl", "actor/reward_kl_penalty", "actor/kl_loss"),
        "approx_kl": ("policy/approxkl_avg", "actor/ppo_kl", "ppo_kl"),
        "clip_fraction": ("policy/clipfrac_avg", "clip_ratio/region_mean", "actor/pg_clipfrac", "ppo_clip_ratio"),
        "ratio": ("val/ratio",),
        "sampler_gap": (
            "sampling/sampling_logp_difference/mean",
            "rollout_corr/kl",
            "vllm_kl",
            "policy/rollout_train_logprobs_abs_diff_mean",
        ),
        "entropy": ("objective/entropy", "entropy", "policy/entropy_avg", "actor/entropy", "entropy_loss"),
        "length": ("completions/mean_length", "response_length/mean", "response_length"),
        "truncated": ("completions/clipped_ratio", "response_length/clip_ratio", "truncated"),
        "zero_signal": ("frac_reward_zero_std",),
        "explained_variance": ("val/explained_variance", "critic/vf_explained_var"),
        "value_loss": ("loss/value_avg", "critic/vf_loss", "critic_loss"),
        "loss": ("loss", "loss/policy_avg", "actor/pg_loss", "policy_loss", "train_loss"),
        "grad_norm": ("grad_norm", "grad_norm/policy", "actor/grad_norm"),
        "critic_grad_norm": ("grad_norm/critic", "critic/grad_norm"),
        "refused": ("refused",),
        "step_seconds": ("time/step", "timing_s/step", "step_time", "timing/step"),
        "reward_length": ("reward_length_correlation",),
        "train_accuracy": ("accuracy", "rewards/accuracies"),
        "eval_accuracy": ("eval_accuracy", "eval_rewards/accuracies"),
        "eval_f1": ("eval_f1_macro",),
        "eval_loss": ("eval_loss",),
        "eval_chosen_logp": ("eval_logps/chosen",),
        "eval_reward": ("eval_reward", "eval_objective/scores"),
        "eval_independent": ("eval_independent/mean",),
        "eval_length": ("eval_completions/mean_length",),
        "eval_truncated": ("eval_completions/clipped_ratio",),
        "distinct_2": ("eval_completions/distinct_2",),
        "repetition": ("eval_completions/repetition", "repetition_frac"),
        "empty": ("eval_completions/empty_ratio",),
    }
)
"""Our name -> the names in logs; where a log has several, the first counts."""
PATTERNS: Mapping[str, str] = MappingProxyType({"eval_reward": r"val-core/.+/(mean|reward/mean)@1|val/test_score/.+"})
"""Our name -> a pattern of names that depend on a data set (verl's validations)."""


def series_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Points]:
    """Rows of a log, each with its `step`, as series by our names. What is no number is left out; NaN stays, as NaN."""
    found: dict[str, Points] = {}
    there = dict.fromkeys(name for row in rows for name in row)
    for ours, theirs in NAMES.items():
        pattern = PATTERNS.get(ours)
        matching = [name for name in there if pattern and re.fullmatch(pattern, name)]
        chosen = next((name for name in (*theirs, *matching) if name in there), None)
        if chosen is not None:
            points = tuple((float(row["step"]), number(row[chosen])) for row in rows if _counts(row.get(chosen)))
            if points:
                found[ours] = points
    return found


def number(value: Any) -> float:
    """A figure as a log holds it, among them the texts NaN and Infinity."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _counts(value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return False
    return isinstance(value, int | float) or (
        isinstance(value, str) and value.lower().lstrip("-+") in ("nan", "inf", "infinity")
    )


def origin_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whose log it is, by the names in it; empty where no name is known."""
    there = {name for row in rows for name in row}
    known = {name for names in NAMES.values() for name in names}
    if not there & known and not any(re.fullmatch(p, name) for p in PATTERNS.values() for name in there):
        return ""
    if any(name.startswith(("actor/", "critic/", "response_length/", "timing_s/", "val-core/")) for name in there):
        return "verl"
    if there & {"policy_loss", "ppo_clip_ratio", "actor_lr", "total_length"}:
        return "openrlhf"
    return "plaudit" if there & {"time/step", "refused"} else "trl"
