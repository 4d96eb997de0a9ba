"""Several runs on one offline page: figures, curves together, what differs, answers side by side, tokens, lineage, cost.

Everything a model or a file says is hostile text and goes through `safe`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.evaluation.card.page import table
from plaudit.evaluation.report import Curve, TokenTrace, configuration, document, heading
from plaudit.evaluation.report.curves import chart
from plaudit.evaluation.report.glossary import CURVES, DEFINITIONS
from plaudit.evaluation.report.page import definitions
from plaudit.evaluation.report.tokens import trace
from plaudit.evaluation.report.words import duration, figure, percent, safe, sentence
from plaudit.evaluation.runs.lineage import cost, lineage
from plaudit.evaluation.runs.reading import RunFiles, number
from plaudit.schema import JSON

CHARTS = (
    ("reward", "reward"),
    (None, "eval_reward"),
    ("gold", "rewards/gold/mean"),
    ("kl", "objective/kl"),
    ("length", "completions/mean_length"),
    (None, "completions/clipped_ratio"),
    ("entropy", "policy/entropy_avg"),
    ("explained_variance", "val/explained_variance"),
    ("clip_fraction", "policy/clipfrac_avg"),
    (None, "loss"),
    (None, "eval_loss"),
    ("reward_accuracy", "eval_accuracy"),
    (None, "grad_norm"),
)
"""Kind of chart (its usual name, unit and healthy band) and metric; None: the metric by its own name."""
UNITS = {
    "eval_reward": "points",
    "completions/clipped_ratio": "share of answers",
    "loss": "as the algorithm defines it",
    "eval_loss": "as the algorithm defines it",
    "grad_norm": "length of the gradient",
}
"""Of metrics that are shown by their own name."""
SHOWN_PROMPTS, SHOWN_TRACES = 8, 6
SILENT = ("output_dir", "place", "report_to")
"""Options of which a difference says nothing."""


def runs_page(runs: Sequence[RunFiles], *, title: str = "", price_per_hour: float | None = None) -> str:
    """The page as text."""
    title = title or ("Run " if len(runs) == 1 else "Runs ") + ", ".join(run.name for run in runs)
    facts = [("Runs", str(len(runs))), ("Verbs", ", ".join(dict.fromkeys(run.verb for run in runs if run.verb)))]
    sections = [
        ("figures", "Figures", _figures(runs)),
        ("comparisons", "Comparisons and tasks", "".join(map(_evaluation, runs))),
        ("card", "Reward model", "".join(map(_card, runs))),
        ("curves", "Training curves", _curves(runs)),
        ("answers", "The same prompts", _answers(runs)),
        ("tokens", "Answers, token by token", _traces(runs)),
        ("differences", "What differs in their options", _differences(runs)),
        ("lineage", "Where they came from", "".join(_lineage(run, runs) for run in runs)),
        ("cost", "What they cost", _cost(runs, price_per_hour)),
        ("configuration", "Options", configuration({run.name: run.config for run in runs})),
        ("definitions", "What the figures mean", definitions(DEFINITIONS)),
    ]
    return document(title, heading(title, facts), _headline(runs), [one for one in sections if one[2]])


def _headline(runs: Sequence[RunFiles]) -> str:
    """Which runs did not end, and what could not be read."""
    found = [f"{run.name} is {run.state}." for run in runs if run.state != "finished"]
    found += [f"{run.name}: {sentence(problem)}" for run in runs for problem in run.problems]
    word = "Complete" if not found else "Incomplete"
    listed = f"<ul>{''.join(f'<li>{safe(one)}</li>' for one in found)}</ul>" if found else ""
    text = "All runs ended, and all that they wrote was read." if not found else "Read the figures with this in mind:"
    verdict = f'<div class="verdict"><p class="word">{word}</p><p class="text">{text}</p>{listed}</div>'
    return f'<section aria-label="State">{verdict}</section>'


def _figures(runs: Sequence[RunFiles]) -> str:
    rows: list[list[str]] = []

    def row(name: str, values: Sequence[str]) -> None:
        if any(values):
            rows.append([safe(name), *values])

    row("verb", [safe(run.verb) for run in runs])
    row("model", [safe(run.config.get("model_name_or_path", "")) for run in runs])
    row("seed", [safe(run.config.get("seed", "")) for run in runs])
    row("steps", [_number(run.summary.get("steps")) for run in runs])
    row("refused steps", [_number(run.summary.get("refused_steps") or None) for run in runs])
    best: list[Any] = [run.summary.get("best") if isinstance(run.summary.get("best"), Mapping) else {} for run in runs]
    for name in dict.fromkeys(name for one in best for name in (one or {})):
        row(f"best {name}", [_number((one or {}).get(name)) for one in best])
    for _, metric in CHARTS:
        row(f"last {metric}", [_number(run.last(metric)) for run in runs])
    row("time", [duration(cost(run)["seconds"]) if cost(run)["seconds"] is not None else "" for run in runs])
    return table(("", *(run.name for run in runs)), rows)


def _number(value: Any) -> str:
    return figure(value) if isinstance(value, int | float) else "" if value is None else safe(value)


def _curves(runs: Sequence[RunFiles]) -> str:
    charts = []
    for kind, metric in CHARTS:
        drawn = {run.name: points for run in runs if (points := run.points(metric))}
        if not drawn:
            continue
        usual = CURVES[kind] if kind else Curve(metric, UNITS[metric], ())
        (first, points), *others = drawn.items()
        label = first if others else ""
        charts.append(chart(Curve(usual.name, usual.unit, points, usual.band, usual.help, label, dict(others))))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _answers(runs: Sequence[RunFiles]) -> str:
    """Held-out prompts with the first and the last answer of each run."""
    found: dict[str, list[tuple[str, JSON]]] = {}
    for run in runs:
        mine: dict[str, list[JSON]] = {}
        for sample in run.samples:
            if sample.get("held_out", True) and isinstance(sample.get("prompt"), str):
                mine.setdefault(sample["prompt"], []).append(sample)
        for prompt, samples in mine.items():
            ends = [samples[0]] if len(samples) == 1 else [samples[0], samples[-1]]
            found.setdefault(prompt, []).extend((f"{run.name}, step {one.get('step')}", one) for one in ends)
    order = sorted(found, key=lambda prompt: -len(found[prompt]))[:SHOWN_PROMPTS]
    return "".join(_prompt(prompt, found[prompt]) for prompt in order)


def _prompt(prompt: str, answers: Sequence[tuple[str, JSON]]) -> str:
    columns = "".join(_answer(title, one) for title, one in answers)
    head = f'<p class="label">Prompt</p><div class="text prompt" dir="auto">{safe(prompt)}</div>'
    width = min(3, max(1, len(answers)))
    return f'<article class="comparison"><header>{head}</header><div class="columns of{width}">{columns}</div></article>'


def _answer(title: str, one: JSON) -> str:
    parts = one.get("parts") if isinstance(one.get("parts"), Mapping) else {}
    scores = {"reward": one.get("reward"), **(parts or {})}
    shown = "".join(f"<div><dt>{safe(name)}</dt><dd>{_number(value)}</dd></div>" for name, value in scores.items())
    text = safe(one.get("answer") or "") or '<span class="faint">(empty answer)</span>'
    cut = '<span class="cut">… cut off</span>' if one.get("truncated") else ""
    return (
        f'<section class="answer"><h4>{safe(title)}</h4><div class="text" dir="auto">{text}{cut}</div>'
        f'<dl class="scores">{shown}</dl></section>'
    )


def _traces(runs: Sequence[RunFiles]) -> str:
    shown: list[str] = []
    for run in runs:
        for one in run.traces[:SHOWN_TRACES]:
            if (made := token_trace(run.name, one)) is not None:
                shown.append(trace(made, len(shown)))
    return "".join(shown)


def token_trace(run: str, one: JSON) -> TokenTrace | None:
    """A trace as the view takes it, with its reward and the parts of it as a note; None where it does not hold together."""
    tokens, streams = one.get("tokens"), one.get("streams")
    if not isinstance(tokens, list) or not isinstance(streams, Mapping):
        return None
    whole = {
        str(name): [value if isinstance(value, int | float) else None for value in values]
        for name, values in streams.items()
        if isinstance(values, list) and len(values) == len(tokens)
    }
    parts = one.get("parts") if isinstance(one.get("parts"), Mapping) else {}
    told = [f"{name} {figure(value)}" for name, value in (parts or {}).items() if isinstance(value, int | float)]
    reward = one.get("reward")
    note = f"{run}: reward {figure(reward) if isinstance(reward, int | float) else 'none'}"
    note += f" ({', '.join(told)})" if told else ""
    return TokenTrace([str(token) for token in tokens], whole, prompt=str(one.get("prompt") or ""), note=note)


def _differences(runs: Sequence[RunFiles]) -> str:
    """Options in which the runs differ; nothing for a single one."""
    if len(runs) < 2:
        return ""
    names = dict.fromkeys(name for run in runs for name in run.config if name not in SILENT)
    rows = []
    for name in names:
        values = [repr(run.config[name]) if name in run.config else "" for run in runs]
        if len(set(values)) > 1:
            rows.append([safe(name), *(f"<code>{safe(value)}</code>" if value else "" for value in values)])
    return table(("option", *(run.name for run in runs)), rows) if rows else '<p class="empty">Nothing.</p>'


def _lineage(run: RunFiles, runs: Sequence[RunFiles]) -> str:
    rows = [
        [safe(row["input"]), safe(row["given"]), f"<code>{safe(row['digest'][:16])}</code>", safe(row["from"])]
        for row in lineage(run, runs)
    ]
    return table(("input", "given", "digest", "made by"), rows, run.name) if rows else ""


def _cost(runs: Sequence[RunFiles], price_per_hour: float | None) -> str:
    told = [cost(run, price_per_hour) for run in runs]
    if not any(one["seconds"] is not None for one in told):
        return ""
    rows = [["in all", *(duration(one["seconds"]) for one in told)]]
    for phase in dict.fromkeys(phase for one in told for phase in one["phases"]):
        rows.append([safe(phase), *(duration(one["phases"].get(phase)) for one in told)])
    for name in dict.fromkeys(name for one in told for name in one["tokens"]):
        rows.append([safe(f"tokens {name.replace('_', ' ')}"), *(figure(one["tokens"].get(name)) for one in told)])
    memory = [one["peak_memory_bytes"] for one in told]
    rows.append(["peak memory", *(f"{figure(value / 2**30)} GiB" if value else "" for value in memory)])
    if price_per_hour is not None:
        rows.append([safe(f"price at {price_per_hour:g} an hour"), *(figure(one.get("price")) for one in told)])
    return table(("", *(run.name for run in runs)), rows)


def _evaluation(run: RunFiles) -> str:
    """evaluate.json of a run: the comparison and its tasks."""
    found = run.evaluation
    rows = [
        [safe(name), _number(found[name]), _ends(found.get(f"{name}_ci"))]
        for name in ("win_rate", "win_rate_at_equal_length", "sign_test_p", "compared_prompts", "unscored_prompts")
        if name in found
    ]
    for task, told in (found.get("tasks") or {}).items() if isinstance(found.get("tasks"), Mapping) else ():
        metric = next((name for name in told if f"{name}_ci" in told), None) if isinstance(told, Mapping) else None
        if metric is not None:
            rows.append([safe(f"{task}: {metric}"), _number(told[metric]), _ends(told[f"{metric}_ci"])])
    return table(("figure", "value", "95% interval"), rows, run.name) if rows else ""


def _ends(ends: Any) -> str:
    good = isinstance(ends, list) and len(ends) == 2 and all(isinstance(end, int | float) for end in ends)
    return f"{figure(ends[0])} to {figure(ends[1])}" if good else ""


def _card(run: RunFiles) -> str:
    reasons = run.card.get("reasons")
    if not isinstance(reasons, list):
        return ""
    rows = [
        [safe(r.get("rule", "")), safe(r.get("state", "")), safe(r.get("says", ""))] for r in reasons if isinstance(r, Mapping)
    ]
    accuracy = run.card.get("accuracy")
    value = accuracy.get("accuracy") if isinstance(accuracy, Mapping) else None
    title = f"{run.name}: gate {run.card.get('gate', 'unknown')}, accuracy {percent(number(value))}"
    return table(("rule", "state", "what was found"), rows, title)
