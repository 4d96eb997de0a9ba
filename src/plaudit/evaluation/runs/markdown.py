"""A model card and a data set card in Markdown, with the Hub's metadata in front, from what is known and nothing else.

What nobody measured is said to be unknown. Names and texts of others are put into code spans, so they cannot be markup.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import yaml

from plaudit.evaluation.report.words import duration, visible
from plaudit.evaluation.runs.lineage import cost, lineage
from plaudit.evaluation.runs.reading import RunFiles
from plaudit.schema import JSON

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def code(value: object, most: int = 300) -> str:
    """Any value as a code span that its content cannot leave: one line, with more backticks around it than in it."""
    text = visible(" ".join(str(value).split()))[:most]
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    edge = " " if text.startswith("`") or text.endswith("`") or not text else ""
    # A bar would end a table's cell, even in a code span.
    return f"{fence}{edge}{text}{edge}{fence}".replace("|", "\\|")


def _front(metadata: Mapping[str, Any]) -> str:
    known = {name: value for name, value in metadata.items() if value not in (None, "", [], {})}
    return f"---\n{yaml.safe_dump(known, sort_keys=False, allow_unicode=True)}---\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else code(value)


def _interval(ends: Any) -> str:
    return f"{_number(ends[0])} to {_number(ends[1])}" if isinstance(ends, list) and len(ends) == 2 else ""


def model_card(run: RunFiles, others: Sequence[RunFiles] = (), *, license_id: str | None = None) -> str:
    """README.md of a trained model. `license_id` is the Hub's name of a licence, such as apache-2.0; nobody guesses it."""
    base = str(run.config.get("model_name_or_path") or "")
    reward = run.verb in ("reward", "aspects", "stepwise", "rating", "classify")
    front = _front(
        {
            "license": license_id,
            "base_model": base if HUB_NAME.fullmatch(base) and "/" in base else None,
            "library_name": "transformers",
            "pipeline_tag": "text-classification" if reward else "text-generation",
            "tags": [
                "plaudit",
                *([run.verb] if re.fullmatch(r"\w+", run.verb) else []),
                *(["reward-model"] if run.verb == "reward" else ["rlhf"]),
            ],
            "model-index": _index(run),
        }
    )
    parts = [
        f"{front}\n# {_heading(run.name)}\n",
        f"Trained by Plaudit ({code(f'plaudit train {run.verb}')}) from {code(base or 'an unknown model')}; "
        f"the run is {code(run.state)}.\n",
        "## What it is for\n\nTo be filled in by its makers: intended use, languages, and what it must not be used for.\n",
        "## Training\n\n" + _training(run),
        "## Where it came from\n\n" + _lineage(run, others),
        "## Evaluation\n\n" + _evaluation(run),
        "## Limits\n\n" + _limits(run),
    ]
    return "\n".join(parts)


def _heading(name: str) -> str:
    return re.sub(r"[^\w ./-]", "", name) or "model"


def _training(run: RunFiles) -> str:
    names = (
        "learning_rate",
        "max_steps",
        "num_train_epochs",
        "per_device_train_batch_size",
        "seed",
        "use_peft",
        "lora_r",
        "kl_coef",
    )
    rows = [[code(name), code(run.config[name])] for name in names if run.config.get(name) is not None]
    told = cost(run)
    if told["seconds"] is not None:
        rows.append(["time", duration(told["seconds"])])
    rows += [[code(f"tokens {name.replace('_', ' ')}"), f"{count:,.0f}"] for name, count in told["tokens"].items()]
    return _table(("option", "value"), rows) if rows else "The options are not known.\n"


def _lineage(run: RunFiles, others: Sequence[RunFiles]) -> str:
    rows = [
        [code(row["input"]), code(row["given"]), code(row["digest"]), code(row["from"]) if row["from"] else ""]
        for row in lineage(run, others)
    ]
    return _table(("input", "given", "digest", "made by"), rows) if rows else "Its inputs are not known.\n"


def _evaluation(run: RunFiles) -> str:
    """Figures of evaluate.json with their intervals, and the held-out figure of training."""
    rows = [[name, _number(value), _interval(run.evaluation.get(f"{name}_ci"))] for name, value in _figures(run).items()]
    best = run.summary.get("best")
    if isinstance(best, Mapping):
        rows += [[f"best {code(name)} in training", _number(value), ""] for name, value in best.items()]
    accuracy = run.card.get("accuracy")
    if isinstance(accuracy, Mapping):
        rows.append(["accuracy on held-out pairs", _number(accuracy.get("accuracy")), _interval(accuracy.get("ci"))])
    if not rows:
        return (
            "Nobody has measured it: `plaudit evaluate RUN PROMPTS --against BASE --task safety --json > RUN/evaluate.json`.\n"
        )
    return _table(("figure", "value", "95 % interval"), rows)


def _figures(run: RunFiles) -> JSON:
    found: JSON = {name: run.evaluation[name] for name in ("win_rate", "win_rate_at_equal_length") if name in run.evaluation}
    tasks = run.evaluation.get("tasks")
    for task, told in tasks.items() if isinstance(tasks, Mapping) else ():
        metric = next((name for name in told if f"{name}_ci" in told), None) if isinstance(told, Mapping) else None
        if metric is not None:
            found[f"{_heading(str(task))}: {_heading(str(metric))}"] = told[metric]
    return found


def _index(run: RunFiles) -> list[JSON]:
    """The Hub's model-index: figures of tasks by name."""
    results = []
    for name, value in _figures(run).items():
        if isinstance(value, int | float) and ": " in name:
            task, metric = name.split(": ", 1)
            results.append(
                {
                    "task": {"type": "text-generation"},
                    "dataset": {"name": task, "type": task},
                    "metrics": [{"type": metric, "value": float(value)}],
                }
            )
    return [{"name": _heading(run.name), "results": results}] if results else []


def _limits(run: RunFiles) -> str:
    lines = []
    if not run.evaluation.get("tasks"):
        lines.append("- Safety, bias and forgetting have not been measured.")
    changes = run.evaluation.get("regressions")
    changes = changes if isinstance(changes, list) else []
    forgotten = [one for one in changes if isinstance(one, Mapping) and one.get("forgotten")]
    lines += [
        f"- It is significantly worse than the model it was compared with on {code(one.get('task'))}." for one in forgotten
    ]
    reasons = run.card.get("reasons")
    lines += [
        f"- {code(reason.get('rule'))} ({code(reason.get('state'))}): {code(reason.get('says'))}"
        for reason in (reasons if isinstance(reasons, list) else [])
        if isinstance(reason, Mapping) and reason.get("state") in ("act", "watch")
    ]
    lines.append("- A model trained on feedback follows those who gave it. Whom they represent is for its makers to say.")
    return "\n".join(lines) + "\n"


def dataset_card(
    name: str,
    digest: str,
    kind: str,
    lines: Sequence[str],
    rows: int,
    *,
    license_id: str | None = None,
    sources: Mapping[str, int] = MappingProxyType({}),
) -> str:
    """README.md of a data set: `lines` are what `plaudit data check` says of it, `sources` its sources with their rows."""
    category = "n<1K" if rows < 1000 else "1K<n<10K" if rows < 10_000 else "10K<n<100K" if rows < 100_000 else "n>100K"
    front = _front(
        {"license": license_id, "size_categories": [category], "tags": ["plaudit", kind], "pretty_name": _heading(name)}
    )
    found = "".join(f"- {code(line)}\n" for line in lines)
    origins = _table(("source", "rows"), [[code(one), f"{count:,}"] for one, count in sources.items()]) if sources else ""
    return (
        f"{front}\n# {_heading(name)}\n\n{rows:,} {kind}, content digest {code(digest)}.\n\n"
        f"## What was found in it\n\n{found}\n"
        f"{origins}\n## Who made it\n\nTo be filled in: who wrote and judged it, under which guideline, how they were paid, "
        "how far they agreed, and whom they represent.\n\n## Personal data\n\nTo be filled in: what was masked, and how to "
        "have a row erased.\n"
    )
