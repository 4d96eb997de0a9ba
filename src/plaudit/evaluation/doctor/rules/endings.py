"""Do answers end, and say something in between?"""

from __future__ import annotations

import math

from plaudit.evaluation.doctor.evidence import Evidence, first, recent
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown, worse

TRUNCATED, REPEATED, EMPTY = (0.05, 0.20), (0.1, 0.2), (0.0, 0.01)
BELOW_START = 0.5
"""Below this part of the length at the start answers have shrunk away."""


def examine(evidence: Evidence) -> Reading:
    """Truncated share, share of repeated 4-grams, empty answers, and answers that shrank; the gravest counts."""
    truncated, ends = recent(evidence.points("eval_truncated", "truncated"), 3)
    repeated, _ = recent(evidence.points("repetition"), 3)
    empty, _ = recent(evidence.points("empty"), 3)
    if math.isnan(truncated):
        return unknown("the share of truncated answers (completions/clipped_ratio, response_length/clip_ratio, truncated)")
    status = worse(
        graded(truncated, *TRUNCATED),
        *(one for one in (graded(repeated, *REPEATED), graded(empty, *EMPTY)) if one != "unknown"),
    )
    causes = [f"{truncated:.0%} of the answers run into the length limit"] if truncated > TRUNCATED[0] else []
    causes += [f"{repeated:.0%} of the 4-grams of an answer stood in it before"] if repeated > REPEATED[0] else []
    causes += [f"{empty:.0%} of the answers are empty"] if empty > EMPTY[0] else []
    length = evidence.points("eval_length", "length")
    if recent(length, 3)[0] < BELOW_START * first(length):
        status = worse(status, "watch")
        causes.append(f"answers shrank from {first(length):.0f} tokens to {recent(length, 3)[0]:.0f}")
    return Reading(status, truncated, ends, tuple(causes))


RULE = Rule(
    name="endings",
    number=13,
    about="Do answers end by themselves, without repeating?",
    threshold="share of truncated answers: watch above 0.05, act above 0.20; repeated 4-grams: 0.1 and 0.2; empty answers: "
    "0 and 0.01 (medians of the last 3); length below half of the start: watch",
    source="AReaL no_eos_ratio 0.05; the rest: house rule. Ends are known from the engine, never from pad being EOS (law 3)",
    causes=(
        "nothing is taken off for answers that do not end",
        "max_completion_length is too short",
        "pad is EOS in the fine-tuning data, so that ends were masked and never learnt",
        "the chat template of training is not that of sampling",
    ),
    next="train with missing_eos_penalty=1.0, more max_completion_length, and reward_funcs=[repetition_penalty]",
    examine=examine,
    metrics=("eval_truncated", "truncated", "repetition"),
)
