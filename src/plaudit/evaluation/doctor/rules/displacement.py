"""Preference losses see only differences: do the better answers themselves become less likely, with nothing gained by it?"""

from __future__ import annotations

from plaudit.evaluation.doctor.evidence import Evidence, finite
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown

WATCH, ACT = 0.1, 0.3
"""Fall of the log-probability of the better answers since the first evaluation, as a share of its size then."""
FLOOR = 0.1
"""A log-probability nearer to 0 than this counts as this (simpo and orpo log it per token)."""
RECENTLY = 3
"""Evaluations over which they must have fallen, and the accuracy must have gained nothing."""


def examine(evidence: Evidence) -> Reading:
    """The fall on held-out pairs. It counts only while it goes on and the accuracy on them is no better than before."""
    chosen, right = finite(evidence.points("eval_chosen_logp")), finite(evidence.points("eval_accuracy"))
    if len(chosen) <= RECENTLY or len(right) <= RECENTLY:
        return unknown(
            f"{RECENTLY + 1} evaluations on held-out pairs with eval_logps/chosen and eval_rewards/accuracies (dpo, simpo, "
            "orpo; eval_fraction or eval_file, and eval_steps)"
        )
    fallen = (chosen[0] - chosen[-1]) / max(abs(chosen[0]), FLOOR)
    going_on = chosen[-1] < chosen[-RECENTLY - 1]
    gained = max(right[-RECENTLY:]) > max(right[:-RECENTLY])
    if not going_on or gained:
        return Reading("ok", fallen)
    status = graded(fallen, WATCH, ACT)
    said = f"log-probability of the better answers: from {chosen[0]:.4g} to {chosen[-1]:.4g} nats; accuracy now {right[-1]:.2f}"
    return Reading(status, fallen, None, (said,) if status != "ok" else ())


RULE = Rule(
    name="displacement",
    number=22,
    about="Do the better answers of the pairs stay likely?",
    threshold="fall of the log-probability of held-out chosen answers since the first evaluation, as a share of its size, "
    "where it fell over the last three evaluations and the accuracy was no better in them than before: watch above 0.1, "
    "act above 0.3",
    source="likelihood displacement: Razin et al. 2410.08847, Pal et al. 2402.13228; the levels are a house rule",
    causes=("both answers of a pair are much alike", "the learning rate is too high", "beta is too low"),
    next="hold the better answers up: plaudit train dpo rpo_alpha=1.0; or halve learning_rate, or beta=0.3",
    examine=examine,
    metrics=("eval_chosen_logp", "eval_accuracy"),
)
