"""Is the better answer of a pair simply the longer one? A reward model then learns to count."""

from __future__ import annotations

from plaudit.evaluation.doctor.evidence import Evidence
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown
from plaudit.stats import wilson

WATCH, ACT = 0.60, 0.70
LEAST = 20


def examine(evidence: Evidence) -> Reading:
    """Two-sided, and only where the interval leaves out one half."""
    counted = evidence.dataset.longer if evidence.dataset else None
    if counted is None and evidence.pairs is not None:
        pairs = evidence.pairs
        counted = (
            int((pairs.chosen_length > pairs.rejected_length).sum()),
            int((pairs.chosen_length != pairs.rejected_length).sum()),
        )
    if counted is None:
        return unknown("pairs of a better and a worse answer")
    if counted[1] < LEAST:
        return unknown(f"{LEAST} pairs whose answers differ in length; there are {counted[1]}")
    share = wilson(*counted)
    status = graded(max(share.mean, 1 - share.mean), WATCH, ACT)
    if share.low <= 0.5 <= share.high:
        status = "ok"
    return Reading(status, share.mean, (share.low, share.high))


RULE = Rule(
    name="length_preference",
    number=2,
    about="Is the better answer simply the longer one?",
    threshold="share of pairs whose better answer is the longer one (ties in length left out): watch above 0.60 or below 0.40, "
    "act above 0.70 or below 0.30, where the interval leaves out 0.5",
    source="AlpacaEval wants P(longer preferred) below 0.70 and finds 0.64 in people; the lower side and 0.60 are house rules",
    causes=(
        "annotators take length for effort",
        "the two answers come from models of different length",
        "the guideline does not say that short answers can be better",
    ),
    next="judge more pairs of like length, and say in the guideline that short answers can be better; where that cannot be "
    "had, put a price on length in RL: plaudit train ppo reward_funcs=[length_penalty]",
    examine=examine,
    kinds=("run", "dataset", "model"),
)
