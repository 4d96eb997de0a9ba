"""All data sets that acts of feedback give, with everybody weighted by how reliable they have shown themselves."""

from __future__ import annotations

from collections.abc import Sequence

from plaudit.judgements.base import Conversion, current, identified
from plaudit.judgements.quality.annotators import estimated_accuracies
from plaudit.judgements.quality.ballots import ballots_of
from plaudit.registry import find
from plaudit.schema import Completion, Feedback, Prompt

PARTS: tuple[tuple[str, str, str], ...] = (
    ("rankings", "pairwise", "rankings"),
    ("rankings", "ranking", "pairs"),
    ("rankings", "rating", "rankings"),
    ("rankings", "correction", "rankings"),
    ("demonstrations", "correction", "demonstrations"),
    ("demonstrations", "thumb", "demonstrations"),
    ("labels", "thumb", "labels"),
    ("steps", "span", "steps"),
    ("aspects", "rating", "aspects"),
    ("aspects", "rubric", "aspects"),
    ("prompts", "text", "prompts"),
)
"""(data set, kind of judgement, what it is made into). Labels are thumbs alone: KTO wants 1 or 0, stars are aspects."""


def reliability(feedback: Sequence[Feedback], completions: Sequence[Completion] = ()) -> dict[str, float]:
    """`source:name` -> estimated P(a vote is right), over all kinds of judgement together; see `stats.one_coin_dawid_skene`."""
    return estimated_accuracies(ballots_of(feedback, completions))


def convert_all(
    feedback: Sequence[Feedback], completions: Sequence[Completion], prompts: Sequence[Prompt]
) -> dict[str, Conversion]:
    """Data set -> its rows, with the acts behind each; data sets without rows are left out.

    The same acts, whatever their order, give the same rows. Counts are by kind, as `thumb: used`. A plug-in's kind adds what it
    makes by itself.
    """
    accuracies = reliability(feedback, completions)
    asked = {act.assignment.kind for act in current(identified(feedback)).values()}
    built_in = {kind for _, kind, _ in PARTS}
    own = [(find("judgements", name).makes, name, find("judgements", name).makes) for name in sorted(asked - built_in)]
    found: dict[str, list[tuple[str, Conversion]]] = {}
    for target, kind, into in (*PARTS, *own):
        if kind in asked:
            mine = [act for act in feedback if act.assignment.kind == kind]
            made = find("judgements", kind).convert(mine, completions, prompts, into=into, accuracies=accuracies)
            found.setdefault(target, []).append((kind, made))
    joined = {target: _joined(target, parts, feedback) for target, parts in found.items()}
    return {target: done for target, done in joined.items() if done.rows}


def _joined(target: str, parts: Sequence[tuple[str, Conversion]], feedback: Sequence[Feedback]) -> Conversion:
    lineage = tuple(ids for _, part in parts for ids in part.lineage)
    used = {identity for ids in lineage for identity in ids}
    return Conversion(
        rows=[row for _, part in parts for row in part.rows],
        feedback_ids=tuple(identity for identity in identified(feedback) if identity in used),
        counts={f"{kind}: {name}": count for kind, part in parts for name, count in part.counts.items()},
        kind=target,
        lineage=lineage,
    )
