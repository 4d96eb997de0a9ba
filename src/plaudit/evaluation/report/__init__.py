"""The report of a run as one offline HTML file: `write_report(path, Report(...))`.

`parts` are the figures to hand in, `glossary.curve` makes the usual charts from points alone, `page` puts it together.
"""

from plaudit.evaluation.report.glossary import curve
from plaudit.evaluation.report.page import configuration, document, heading, render, write_page, write_report
from plaudit.evaluation.report.parts import (
    Annotator,
    Answer,
    Comparison,
    Curve,
    Data,
    Definition,
    Headline,
    Interval,
    Report,
    RewardModel,
    TokenTrace,
)
from plaudit.evaluation.report.verdict import Verdict, verdict

__all__ = [
    "Annotator",
    "Answer",
    "Comparison",
    "Curve",
    "Data",
    "Definition",
    "Headline",
    "Interval",
    "Report",
    "RewardModel",
    "TokenTrace",
    "Verdict",
    "configuration",
    "curve",
    "document",
    "heading",
    "render",
    "verdict",
    "write_page",
    "write_report",
]
