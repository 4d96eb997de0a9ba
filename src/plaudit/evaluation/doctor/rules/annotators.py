"""Does somebody answer without reading? Gold questions, time, sides, and agreement with the others tell."""

from __future__ import annotations

from plaudit.evaluation.doctor.evidence import Evidence
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown

WATCH, ACT = 0.05, 0.20
LEAST = 20
"""Acts of one person before anything is held against them."""


def examine(evidence: Evidence) -> Reading:
    """The share of all acts that comes from people with a flag."""
    quality = evidence.dataset.quality if evidence.dataset else None
    people = [one for one in quality.annotators if one.acts >= LEAST] if quality else []
    if not people:
        return unknown(f"an annotator with {LEAST} judgements or more")
    total = sum(one.acts for one in people)
    flagged = [one for one in people if one.flags]
    share = sum(one.acts for one in flagged) / total
    said = tuple(f"{one.name}: {'; '.join(one.flags)}" for one in sorted(flagged, key=lambda one: -one.acts))
    advice = (
        f"see why: plaudit data quality {evidence.rows}; talk to them, leave their votes out, and let others judge the same "
    )
    advice += "pairs: plaudit feedback"
    return Reading(graded(share, WATCH, ACT), share, None, said, advice)


RULE = Rule(
    name="annotators",
    number=4,
    about="Does somebody judge without reading?",
    threshold="share of judgements by annotators with a flag (gold questions missed, too fast, one side, often alone): "
    "watch above 0.05, act above 0.20",
    source="flags: sequential test of .85 against .60, 2 s or 15 words a second, 99 % binomial bands; shares: house rule",
    causes=("no gold questions are asked", "pay or praise goes by the number of judgements"),
    next="see why: plaudit data quality FILE; talk to them, and let others judge the same pairs",
    examine=examine,
    kinds=("dataset",),
)
