"""Judgements in signs that need no language, for pages that show what others said."""

from __future__ import annotations

from collections.abc import Mapping

from plaudit.judgements import pairwise, ranking, rating, rubric, span, thumb
from plaudit.schema import JSON, Feedback

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""What pages call answers, in the order in which they show them."""
MET = {True: "✓", False: "✗", None: "–"}


def said(act: Feedback, letters: Mapping[str, str]) -> str:
    """`A > B`, `A = B`, `B > A = C`, `4/5 · helpful 5/5`, `+1`, `wrong 0–12`; a text as it is. Comments stand elsewhere.

    `letters`: completion id -> what the page calls the answer. Of a pair more signs are a stronger preference.
    """
    kind, judgement = act.assignment.kind, act.judgement
    shown = [letters.get(one, "?") for one in act.assignment.completion_ids]
    if kind == pairwise.NAME:
        return _pair(judgement, shown)
    if kind == ranking.NAME:
        return " > ".join(" = ".join(shown[place] for place in group) for group in judgement["order"])
    if kind == rating.NAME:
        given = rating.parse(judgement).scores
        return " · ".join(
            f"{stars}/{rating.HIGH}" if name == rating.OVERALL else f"{name} {stars}/{rating.HIGH}"
            for name, stars in given.items()
        )
    if kind == thumb.NAME:
        return "+1" if judgement["value"] else "−1"
    if kind == span.NAME:
        return ", ".join(f"{one['tag']} {one['start']}–{one['end']}" for one in judgement["spans"]) or "–"
    if kind == rubric.NAME:
        return " · ".join(f"{name} {MET[met]}" for name, met in judgement["criteria"].items())
    return str(judgement.get("text", ""))


def _pair(judgement: JSON, shown: list[str]) -> str:
    first, second = shown
    if judgement["choice"] == "both_bad":
        return f"{first} ✗ {second} ✗"
    signs = {"a": ">", "b": "<", "tie": "="}[judgement["choice"]] * max(1, int(judgement.get("strength", 1)))
    return f"{first} {signs} {second}"
