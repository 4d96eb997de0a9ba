"""Do people who judge the same pair say the same? On noise no reward model can be trained."""

from __future__ import annotations

from plaudit.evaluation.doctor.evidence import Evidence
from plaudit.evaluation.doctor.finding import Reading, Rule, Status, unknown
from plaudit.judgements.quality.agreement import SHOWN

LOW, WEAK, HIGH = 0.60, 0.65, 0.90


def examine(evidence: Evidence) -> Reading:
    """The agreement on preferences, ties left out; the bands are those for matters of taste."""
    quality = evidence.dataset.quality if evidence.dataset else None
    if quality is None:
        return unknown("judgements by several annotators (a store, or a file with the column annotators)")
    asked = next((one for one in quality.questions if one.decided is not None), None)
    if asked is None or asked.decided is None:
        return unknown("pairs that two people judged")
    if asked.items_judged_twice < SHOWN:
        return unknown(f"{SHOWN} pairs that two people judged; there are {asked.items_judged_twice}")
    share = asked.decided
    status: Status = "act" if share.mean < LOW else "watch" if share.mean < WEAK or share.mean > HIGH else "ok"
    advice = (
        f"read the pairs they disagree on (plaudit data quality {evidence.rows}), settle in the guideline what better means, "
    )
    advice += "and have them judged again: plaudit feedback, page Disagreements"
    causes = ("the questions are too easy, or votes were copied",) if share.mean > HIGH else ()
    return Reading(status, share.mean, (share.low, share.high), causes, advice)


RULE = Rule(
    name="agreement",
    number=3,
    about="Do people who judge the same pair agree?",
    threshold="share of agreeing votes on pairs, ties left out: act below 0.60, watch below 0.65 or above 0.90",
    source="bands around published preference data (Bai 0.63, AlpacaFarm 0.66, InstructGPT 0.73, Stiennon 0.77); house rule",
    causes=(
        "the guideline leaves open what better means",
        "some annotators answer at random (see the rule annotators)",
        "the two answers are too alike to tell apart",
    ),
    next="read the pairs they disagree on: plaudit data quality FILE",
    examine=examine,
    kinds=("dataset",),
)
