"""The pre-flight as one offline HTML page."""

from __future__ import annotations

import json

from plaudit.evaluation.card.page import table
from plaudit.evaluation.report import document, heading
from plaudit.evaluation.report.scatter import Point, Scatter, scatter
from plaudit.evaluation.report.words import figure, safe
from plaudit.schema import JSON

HELP = {
    False: "One point for each n, with the 95% interval over prompts.",
    True: "One point for each n, with the 95% interval over prompts; the large one is the best n by the independent score.",
}


def preflight_page(model: str, data: str, result: JSON) -> str:
    """The page as text."""
    advice = result["advice"]
    facts = [("Model", model), ("Prompts", f"{data} ({result['prompts']})"), ("Samples of each", str(result["samples"]))]
    headline = (
        f'<section aria-label="Result"><div class="verdict"><p class="word">{safe(advice["verdict"].capitalize())}</p>'
        f'<p class="text">{safe(advice["says"])}</p></div></section>'
    )
    config = "".join(f"{name}={json.dumps(value)} " for name, value in advice["config"].items()).strip()
    sections = [
        ("curve", "Best of n", _curves(result)),
        ("numbers", "The same in numbers", _numbers(result)),
        ("coefficient", "What each KL coefficient would end with", _tilted(result)),
        ("config", "To set", f'<pre class="command"><code>{safe(config)}</code></pre>' if config else ""),
    ]
    title = f"Pre-flight: {model}"
    return document(title, heading(title, facts), headline, [one for one in sections if one[2]])


def _curves(result: JSON) -> str:
    charts = []
    for key, name in (("reward", "Reward"), ("independent", "Independent score")):
        rows = [row for row in result["best_of_n"] if key in row]
        points = [
            Point(
                row["kl"] ** 0.5,
                row[key],
                row[f"{key}_ci"][0],
                row[f"{key}_ci"][1],
                f"best of {row['n']}: {figure(row[key])}",
                row["n"] == result.get("best_n"),
            )
            for row in rows
        ]
        if points:
            charts.append(
                scatter(
                    Scatter(
                        name,
                        "points, mean of the best of n",
                        "root of KL, √nats",
                        points,
                        help=HELP[bool(result.get("best_n"))],
                    )
                )
            )
    return f'<div class="charts">{"".join(charts)}</div>'


def _numbers(result: JSON) -> str:
    rows = [
        [figure(row["n"]), figure(row["kl"]), figure(row["reward"]), figure(row.get("independent"))]
        for row in result["best_of_n"]
    ]
    return table(("n", "KL (nats)", "reward", "independent score"), rows)


def _tilted(result: JSON) -> str:
    rows = [[figure(row[name]) for name in ("kl_coef", "kl", "reward", "independent", "spread")] for row in result["tilted"]]
    columns = ("kl_coef", "KL (nats)", "reward", "independent score", "share of samples that carry it")
    return table(columns, rows) if rows else ""
