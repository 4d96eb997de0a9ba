"""Does the critic know more than a constant? One that knows less turns advantages into noise."""

from __future__ import annotations

import math
from statistics import median

from plaudit.evaluation.doctor.evidence import Evidence, finite
from plaudit.evaluation.doctor.finding import Reading, Rule, Status, unknown, worse

POOR, USELESS, UPDATES = 0.3, 0.0, 20
SPIKE = 5.0


def examine(evidence: Evidence) -> Reading:
    """Explained variance over the last 20 updates; act only where that many are there. Spikes of the value loss beside it."""
    explained = finite(evidence.points("explained_variance"))
    losses = finite(evidence.points("value_loss"))
    if not explained and len(losses) < UPDATES:
        return unknown("val/explained_variance (critic/vf_explained_var), or 20 steps of the value loss")
    status, causes = _spikes(losses)
    last = explained[-UPDATES:]
    value = median(last) if last else math.nan
    if value < USELESS:
        status = worse(status, "act" if len(explained) >= UPDATES else "watch")
        causes.append("the critic is worse than a constant")
    elif value < POOR and len(explained) < UPDATES and status == "ok":
        return Reading("unknown", value, (min(last), max(last)), (f"{UPDATES} updates; there are {len(explained)}",))
    elif value < POOR:
        status = worse(status, "watch")
    return Reading(status, value, (min(last), max(last)) if last else None, tuple(causes))


def _spikes(losses: list[float]) -> tuple[Status, list[str]]:
    """Value losses in the second half that are five times the median of what came before."""
    late = range(max(UPDATES // 2, len(losses) // 2), len(losses))
    found = [i for i in late if losses[i] > SPIKE * median(losses[:i]) > 0]
    if len(found) < 3:
        return "ok", []
    return "watch", [f"the value loss was {SPIKE:.0f} times its median in {len(found)} late steps"]


RULE = Rule(
    name="value_function",
    number=12,
    about="Does the critic predict better than a constant?",
    threshold="explained variance, median of the last 20 updates (interval: their range): act below 0, watch below 0.3; or a "
    "value loss above 5 times its running median in 3 late steps: watch",
    source="house rule, after what verl and NeMo-RL log",
    causes=(
        "the critic's learning rate is too high or too low",
        "it did not start from the reward model",
        "rewards are far larger than cliprange_value",
    ),
    next="train with critic_learning_rate two to five times learning_rate, whiten_rewards=true or "
    "reward_normalization=batch; without a critic: plaudit train rloo",
    examine=examine,
    metrics=("explained_variance", "value_loss"),
)
