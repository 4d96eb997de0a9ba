"""Is the trained policy worse than the one it started from? In small PPO runs that happens by seed, not by config."""

from __future__ import annotations

import itertools
import math

from plaudit.evaluation.doctor.evidence import Evidence, mean_interval
from plaudit.evaluation.doctor.finding import Reading, Rule, Status, unknown
from plaudit.stats import paired_bootstrap

LEAST = 8


def examine(evidence: Evidence) -> Reading:
    """Win rate of the last evaluation over the first: by the independent score where there is one, else by the reward."""
    seen = evidence.evaluations
    if len(seen) > 1 and len(seen[0].reward) >= LEAST:
        gold = seen[0].independent is not None and seen[-1].independent is not None
        before, after = (one.independent if gold else one.reward for one in (seen[0], seen[-1]))
        assert before is not None and after is not None
        rate = paired_bootstrap(after, before)
        lost, low, _ = mean_interval(before - after)
        status: Status = "act" if rate.high < 0.5 and low > 0 else "watch" if rate.mean < 0.5 and lost > 0 else "ok"
        return Reading(status, rate.mean, (rate.low, rate.high))
    points = evidence.points("eval_independent", "eval_reward")
    values = [value for _, value in points if not math.isnan(value)]
    if len(values) < 3:
        return unknown("evaluations.jsonl, or three evaluations with a reward (eval_reward, val-core/...)")
    noise = sum(abs(b - a) for a, b in itertools.pairwise(values)) / (len(values) - 1)
    fall = (values[0] - values[-1]) / (noise or 1.0)
    return Reading("act" if fall > 2 else "watch" if fall > 1 else "ok", 0.5 - 0.5 * math.tanh(fall / 2))


RULE = Rule(
    name="collapse",
    number=17,
    about="Is the trained policy worse than where it started?",
    threshold="win rate of the last evaluation over the first on the same prompts: act where the interval lies below 0.5, "
    "watch below 0.5; of logs with means alone, a fall by 2 (watch: 1) mean steps between evaluations",
    source="N+ reproduction (2403.17031): two of four seeds at 1B end below SFT",
    causes=("an unlucky seed", "the learning rate is too high", "a critic that did not follow (see value_function)"),
    next="take the best checkpoint (load_best_model_at_end=true) and train with other seeds: plaudit tune with three seeds",
    examine=examine,
    metrics=("eval_independent", "eval_reward"),
)
