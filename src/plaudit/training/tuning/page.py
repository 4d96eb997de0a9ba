"""The report of a search: how it went, what each option did, how much of the outcome each decides, and the finals."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plaudit.evaluation.report import configuration, document, heading, write_page
from plaudit.evaluation.report.scatter import Point, Scatter, scatter
from plaudit.evaluation.report.words import duration, figure, percent, safe
from plaudit.schema import JSON
from plaudit.training.tuning.plan import Plan, Space, spread


def write(plan: Plan, summary: JSON, study: Any, optuna: Any) -> Path:
    """Write report.html into the search's folder."""
    done = [one for one in study.trials if one.state.name == "COMPLETE"]
    count = summary["trials"]
    facts = [
        ("Algorithm", plan.tune.verb),
        ("Metric", f"{plan.metric}, {plan.direction}"),
        ("Trials", f"{count['complete']} complete, {count['pruned']} pruned, {count['failed']} failed"),
        ("Seeds", f"{plan.tune.seeds} for each trial, {plan.tune.final_seeds} fresh ones in the finals"),
        ("Took", duration(summary["seconds"])),
    ]
    charts = [_history(plan, done, summary), *(_slice(plan, space, done, summary) for space in plan.space)]
    weights = importances(study, optuna)
    sections = [
        ("finals", "Finals", _finals(plan, summary)),
        ("trials", "Trials", f'<div class="charts">{"".join(map(scatter, charts))}</div>'),
        ("importance", "How much each option decides", _importance(weights)),
        ("failed", "Trials that failed", _failures(study)),
        ("configuration", "Configuration", configuration({"search": plan.record()})),
    ]
    title = f"Search for options of {plan.tune.verb}"
    shown = [section for section in sections if section[2]]
    return write_page(plan.folder / "report.html", document(title, heading(title, facts), "", shown))


def importances(study: Any, optuna: Any) -> dict[str, float]:
    """Share of the outcome that each option decides (PED-ANOVA, Watanabe et al. 2023); empty where that cannot be said."""
    varied = [one.params for one in study.trials if one.state.name == "COMPLETE"]
    if len(varied) < 4 or not any(len({str(p[name]) for p in varied}) > 1 for name in varied[0]):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is marked experimental
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.3)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def _points(plan: Plan, done: Sequence[Any], summary: JSON, where: Any) -> list[Point]:
    """A point for each trial: mean over its seeds, one standard error each way; finalists stand out."""
    finalists = {row["trial"] for row in summary["finals"]}
    points = []
    for one in done:
        mean, error = spread([one.user_attrs[f"seed {place}"] for place in range(plan.tune.seeds)])
        options = ", ".join(f"{name} {_said(value)}" for name, value in one.params.items())
        said = f"trial {one.number + 1}: {plan.metric} {figure(mean)}, standard error {figure(error)}; {options}"
        points.append(Point(where(one), mean, mean - error, mean + error, said, one.number + 1 in finalists))
    return points


def _history(plan: Plan, done: Sequence[Any], summary: JSON) -> Scatter:
    points = _points(plan, done, summary, lambda one: one.number + 1)
    about = "Mean over the seeds of each trial, with one standard error each way. The finalists stand out."
    return Scatter("History", plan.metric, "trial", points, help=about)


def _slice(plan: Plan, space: Space, done: Sequence[Any], summary: JSON) -> Scatter:
    def where(one: Any) -> float:
        value = one.params[space.name]
        return float(space.choices.index(value)) if space.choices else float(value)

    labels = [_said(one) for one in space.choices]
    return Scatter(space.name, plan.metric, space.name, _points(plan, done, summary, where), labels, space.log)


def _finals(plan: Plan, summary: JSON) -> str:
    names = [space.name for space in plan.space]
    heads = ["Trial", *names, "Mean", "Standard error", "Seeds", "Mean in the search"]
    rows = ""
    for row in summary["finals"]:
        searched, _ = spread(row["values_in_search"])
        figures = (row["mean"], row["standard_error"], float(len(row["values"])), searched)
        rows += f'<tr><th scope="row">{row["trial"]}</th>'
        rows += "".join(f"<td>{safe(_said(row['options'][name]))}</td>" for name in names)
        rows += "".join(f'<td class="num">{figure(value)}</td>' for value in figures) + "</tr>"
    head = "".join(f'<th scope="col">{safe(name)}</th>' for name in heads)
    lead = (
        f'<p class="lead">{safe(plan.metric)} over seeds that the search had not seen, the best first. Beside it what the '
        "search saw: a trial that was only lucky there falls back here.</p>"
    )
    return f"{lead}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _importance(weights: dict[str, float]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{safe(name)}</th><td class="bar-cell" aria-hidden="true">'
        f'<span class="bar" style="width:{100 * max(0.0, min(1.0, share)):.1f}%"></span></td>'
        f'<td class="num">{percent(share)}</td></tr>'
        for name, share in weights.items()
    )
    return f'<table class="timings"><tbody>{rows}</tbody></table>' if rows else ""


def _failures(study: Any) -> str:
    items = "".join(
        f"<li>trial {one.number + 1}: {safe(one.user_attrs.get('failure', ''))}</li>"
        for one in study.trials
        if one.state.name == "FAIL"
    )
    return f"<ul>{items}</ul>" if items else ""


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
