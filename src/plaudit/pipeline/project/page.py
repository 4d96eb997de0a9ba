"""The project's report.html: its stages with their figures, the curves of what was trained, times, options."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.evaluation.report import Curve, configuration, document, heading, write_page
from plaudit.evaluation.report.curves import chart
from plaudit.evaluation.report.figures import timings
from plaudit.evaluation.report.words import duration, figure, safe
from plaudit.pipeline.project.plan import Project
from plaudit.schema import JSON

SHOWN = (
    ("loss", "as the algorithm defines it"),
    ("accuracy", "share of pairs"),
    ("rewards/accuracies", "share of pairs"),
    ("reward", "points"),
    ("objective/kl", "nats per answer"),
    ("kl", "nats"),
)
"""Metrics that are drawn where a stage logged them, each with its unit; `eval_` of the same name on the same axes."""


def write(root: Path, project: Project, summary: JSON, options: Mapping[str, Mapping[str, Any]]) -> Path:
    """Write root/report.html."""
    stages: Mapping[str, JSON] = summary["stages"]
    facts = [("Project", project.name), ("State", str(summary["status"])), ("Stages", str(len(stages)))]
    sections = [("stages", "Stages", _table(stages))]
    for name, stage in stages.items():
        drawn = "".join(chart(one) for one in _curves(Path(stage["folder"]) / "metrics.jsonl"))
        if drawn:
            sections.append((f"stage-{name}", f"Training: {name}", f'<div class="charts">{drawn}</div>'))
    seconds = {name: stage["seconds"] for name, stage in stages.items() if stage["seconds"] is not None}
    if seconds:
        sections.append(("time", "Time", timings(seconds)))
    sections.append(("configuration", "Configuration", configuration(options)))
    return write_page(root / "report.html", document(project.name, heading(project.name, facts), "", sections))


def _table(stages: Mapping[str, JSON]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{safe(name)}</th><td>{safe(stage["verb"])}</td><td>{safe(stage["state"])}, '
        f'{safe(stage["reason"])}</td><td class="num">{duration(stage["seconds"])}</td>'
        f"<td>{_figures(stage['figures'])}</td></tr>"
        for name, stage in stages.items()
    )
    heads = "".join(f'<th scope="col">{head}</th>' for head in ("Stage", "Verb", "State", "Time", "Figures"))
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _figures(figures: Mapping[str, float]) -> str:
    return "; ".join(f"{safe(name)} {figure(value)}" for name, value in figures.items())


def _curves(path: Path) -> list[Curve]:
    """The curves of one training, from its metrics.jsonl."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = []
    for name, unit in SHOWN:
        training, held_out = _points(lines, name), _points(lines, f"eval_{name}")
        if training:
            others = {"held-out": held_out} if held_out else {}
            found.append(Curve(name, unit, training, label="training" if others else "", others=others))
    return found


def _points(lines: Sequence[JSON], name: str) -> list[tuple[float, float]]:
    return [(line["step"], float(line[name])) for line in lines if line.get(name) is not None]
