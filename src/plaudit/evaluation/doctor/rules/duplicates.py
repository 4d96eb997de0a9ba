"""Rows that come twice, and held-out prompts that were trained on: a test on them measures memory."""

from __future__ import annotations

from plaudit.evaluation.doctor.evidence import Evidence
from plaudit.evaluation.doctor.finding import Reading, Rule, graded, unknown
from plaudit.stats import wilson

LEAK, DOUBLE = (0.0, 0.01), (0.01, 0.10)
"""(watch, act) of the share of leaked held-out rows, and of double rows."""


def examine(evidence: Evidence) -> Reading:
    """A leak is the graver matter, so it is the value where there is one."""
    data = evidence.dataset
    if data is None or data.report is None:
        return unknown("the training file: it could not be read from here, or nothing names one")
    report = data.report
    leaked = report.leaked_items.get("held-out", 0)
    if leaked:
        share = wilson(leaked, data.held_out)
        said = f"{leaked} of {data.held_out} held-out rows have a prompt that is trained on too"
        advice = "put both files into one, all.jsonl, and split it anew by prompt: plaudit data split all.jsonl --out parts"
        return Reading(graded(share.mean, *LEAK), share.mean, (share.low, share.high), (said,), advice)
    double = report.duplicates + report.near_duplicates
    share = wilson(double, data.items + data.held_out)
    said = f"{double} of {data.items + data.held_out} rows came up before, letter by letter or but for case and blanks"
    advice = f"see which they are, and leave them out: plaudit data check {evidence.rows}"
    return Reading(graded(share.mean, *DOUBLE), share.mean, (share.low, share.high), (said,), advice)


RULE = Rule(
    name="duplicates",
    number=1,
    about="Do rows come twice, or held-out prompts in training?",
    threshold="share of held-out rows whose prompt is trained on: watch above 0, act above 0.01; without such, share of rows "
    "that came up before: watch above 0.01, act above 0.10",
    source="house rule; leaks of this kind: argilla/notus #10 (TruthfulQA in UltraFeedback)",
    causes=("files were split by row, not by prompt", "data sets were joined that share a source"),
    next="see which they are, and leave them out: plaudit data check FILE",
    examine=examine,
    kinds=("run", "dataset"),
)
