"""Before any RL: does the answer that the reward likes best of many please an independent measure too?"""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown

WATCH, ACT = 1.0, 2.0
LEAST = 3


def examine(evidence: Evidence) -> Reading:
    """The fall of the independent score from its peak to the largest n, in standard errors of the difference."""
    curve = evidence.best_of_n
    if curve is None or len(curve.n) < LEAST:
        return unknown("a best-of-n pre-flight (best_of_n.jsonl with n, proxy, independent and stderr)")
    peak, last = int(curve.independent.argmax()), len(curve.n) - 1
    error = math.hypot(float(curve.stderr[peak]), float(curve.stderr[last])) or 1e-12
    fall = float(curve.independent[peak] - curve.independent[last])
    size = fall / error
    if curve.proxy[last] <= curve.proxy[0]:
        return Reading("unknown", size, None, ("the proxy does not rise over n: the file is not sorted by it",))
    n = float(curve.n[peak])
    said = (
        f"the independent score is best at n = {n:.0f}, a KL of {math.log(n) - (n - 1) / n:.1f} nats: more optimisation hurts",
    )
    return Reading(graded(size, WATCH, ACT), size, (size - 1.96, size + 1.96), said)


RULE = Rule(
    name="best_of_n",
    number=8,
    about="Does choosing by the reward please an independent measure?",
    threshold="fall of the independent score from its peak over n to the largest n, in standard errors of the difference: "
    "watch above 1, act above 2",
    source="Gao et al. 2210.10760: the gold score of best-of-n falls beyond its peak; standard errors: house rule",
    causes=("the reward can be had without what it stands for", "too few pairs behind the reward model"),
    next="an ensemble by its lower bound: reward_model_path=[A, B, C] reward_ensemble=lower_confidence_bound; and more pairs",
    examine=examine,
)
