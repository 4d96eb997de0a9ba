"""One offline HTML file from a `Report`: everything inline, nothing fetched, nothing of a model's output trusted."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.evaluation.report.answers import comparison
from plaudit.evaluation.report.curves import chart
from plaudit.evaluation.report.figures import tiles, timings, win_rates
from plaudit.evaluation.report.glossary import DEFINITIONS
from plaudit.evaluation.report.parts import Data, Definition, Report
from plaudit.evaluation.report.script import SCRIPT
from plaudit.evaluation.report.style import CSS
from plaudit.evaluation.report.tokens import trace
from plaudit.evaluation.report.verdict import verdict
from plaudit.evaluation.report.words import duration, figure, known, percent, safe, sentence
from plaudit.schema import UserError


def write_report(path: str | Path, report: Report) -> Path:
    """Write the report as one HTML file (UTF-8) and return its path; folders are made, an older file is replaced whole.

    UserError where the place cannot be written.
    """
    return write_page(path, render(report))


def write_page(path: str | Path, text: str) -> Path:
    """Write a page as one file, as `write_report` does."""
    path = Path(path)
    page = text.encode()
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_bytes(page)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot write the report to {path}: {error.strerror or error}; choose a folder that can be written."
        ) from error
    return path


def policy() -> str:
    """The page's content security policy: nothing is fetched, and only our own script runs.

    A browser that knows hashes ignores `unsafe-inline` for scripts, so a script that slipped into the page stays dead;
    the word is there for older ones.
    """
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'sha256-{digest}'; img-src data:"


def render(report: Report) -> str:
    """The page as text. Sections without content are left out, of the contents too."""
    sections = [
        ("curves", "Training curves", _curves(report)),
        ("answers", "Answers before and after", _answers(report)),
        ("tokens", "One answer, token by token", "".join(trace(t, i) for i, t in enumerate(report.traces))),
        ("data", "Data", _data(report.data) if report.data else ""),
        ("time", "Time", timings(report.seconds) if report.seconds else ""),
        ("configuration", "Configuration", configuration(report.configuration)),
        ("reproduce", "How to reproduce", _reproduce(report)),
        (
            "definitions",
            "What the figures mean",
            definitions(DEFINITIONS if report.definitions is None else report.definitions),
        ),
    ]
    return document(
        report.title, _header(report), _headline(report), [(k, t, _lead(k, report) + b) for k, t, b in sections if b]
    )


def document(title: str, header: str, headline: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """A whole page from parts that are HTML already: sections are (anchor, heading, body), in order; `title` is text."""
    contents = "".join(f'<a href="#{key}">{safe(heading)}</a>' for key, heading, _ in sections)
    parts = "".join(
        f'<section class="part" id="{key}" aria-labelledby="h-{key}"><h2 id="h-{key}">{safe(heading)}</h2>{body}</section>'
        for key, heading, body in sections
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy()}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">'
        f"<title>{safe(title)}</title><style>{CSS}</style></head><body>"
        f'<a class="skip" href="#main">Skip to the figures</a><header class="top">{header}'
        f'<nav aria-label="Contents">{contents}</nav></header><main id="main">{headline}{parts}'
        f"<footer>Written by Plaudit. This file needs no network.</footer></main><script>{SCRIPT}</script></body></html>\n"
    )


def heading(title: str, facts: Sequence[tuple[str, str]]) -> str:
    """The head of a page: its title and a row of facts (text), those without a value left out."""
    about = "".join(f"<div><dt>{name}</dt><dd>{safe(value)}</dd></div>" for name, value in facts if value)
    return f'<p class="brand">Plaudit report</p><h1>{safe(title)}</h1><dl class="about">{about}</dl>'


def _header(report: Report) -> str:
    facts = [
        ("Run", report.run),
        ("Model", report.model),
        ("Seed", str(report.seed)),
        ("Date", report.created_at),
        ("Machine", report.machine),
    ]
    return heading(report.title, facts)


def _headline(report: Report) -> str:
    found = verdict(report.headline)
    doubts = "".join(f"<li>{safe(doubt)}</li>" for doubt in found.doubts)
    return (
        f'<section aria-label="Result"><div class="verdict"><p class="word">{found.word}</p>'
        f'<p class="text">{safe(found.text)}</p>'
        + (f"<ul>{doubts}</ul>" if doubts else "")
        + f"</div>{win_rates(report.headline)}{tiles(report.headline)}</section>"
    )


def _lead(key: str, report: Report) -> str:
    """One sentence under a heading, where a reader needs it."""
    leads = {
        "curves": "The shaded band is the healthy range. Point at a chart to read its values.",
        "answers": "Held-out prompts, the same for every model.",
        "tokens": "Orange is below zero, blue above. Point at a token, or walk with the arrow keys, to read all its values.",
    }
    if report.data and report.data.simulated:
        leads["data"] = (
            "The annotators are simulated: programs with a stated rubric and a stated share of wrong labels, not people."
        )
    return f'<p class="lead">{leads[key]}</p>' if key in leads else ""


def _curves(report: Report) -> str:
    return f'<div class="charts">{"".join(map(chart, report.curves))}</div>' if report.curves else ""


def _answers(report: Report) -> str:
    if not report.comparisons:
        return ""
    switch = '<label class="switch"><input type="checkbox"> Mark the words that differ between before and after</label>'
    return f'<div class="answers">{switch}{"".join(map(comparison, report.comparisons))}</div>'


def _data(data: Data) -> str:
    who = "simulated annotators" if data.simulated else "annotators"
    facts = [(name, figure(count)) for name, count in data.counts.items()]
    if known(data.agreement):
        facts.append((f"agreement of the {who} ({data.agreement_name})", figure(data.agreement)))
    if known(data.flip_rate):
        facts.append(("labels flipped", percent(data.flip_rate)))
    listed = "".join(f"<div><dt>{safe(name)}</dt><dd>{value}</dd></div>" for name, value in facts)
    notes = "".join(f"<li>{safe(sentence(note))}</li>" for note in data.notes)
    left = f'<div><dl class="facts-list">{listed}</dl>' + (f'<ul class="notes small">{notes}</ul>' if notes else "") + "</div>"
    return f'<div class="two">{left}{_annotators(data)}</div>' if data.annotators else left


def _annotators(data: Data) -> str:
    rows = "".join(
        f'<tr><th scope="row">{safe(a.name)}</th><td>{safe(a.about)}</td><td class="num">{figure(a.labels)}</td>'
        f'<td class="num">{percent(a.flipped)}</td></tr>'
        for a in data.annotators
    )
    title = "Simulated annotator" if data.simulated else "Annotator"
    return (
        f'<table><thead><tr><th scope="col">{title}</th>'
        '<th scope="col">How it judges</th><th scope="col" class="num">Labels</th>'
        f'<th scope="col" class="num">Flipped</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def configuration(sections: Mapping[str, Mapping[str, Any]]) -> str:
    tables = "".join(
        f"<table><caption>{safe(name)}</caption><tbody>"
        + "".join(
            f'<tr><th scope="row">{safe(k)}</th><td><code>{safe(_option(v))}</code></td></tr>' for k, v in options.items()
        )
        + "</tbody></table>"
        for name, options in sections.items()
        if options
    )
    count = sum(map(len, sections.values()))
    return f'<details><summary>All {count} options</summary><div class="config">{tables}</div></details>' if tables else ""


def _option(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _reproduce(report: Report) -> str:
    if not report.command:
        return ""
    commit = f" at commit <code>{safe(report.commit)}</code>" if report.commit else ""
    total = duration(sum(filter(known, report.seconds.values()))) if report.seconds else ""
    took = f" It took {total} on the machine named above." if total else ""
    return (
        f'<pre class="command"><code>{safe(report.command)}</code></pre>'
        f'<p class="small">Seed {report.seed}{commit}.{took} The same seed on the same machine gives the same figures.</p>'
    )


def definitions(entries_of: Sequence[Definition]) -> str:
    """What figures mean, as a list."""
    entries = "".join(
        f"<div><dt>{safe(d.name)}</dt><dd>{safe(d.meaning)}</dd>"
        + (f"<dd>Healthy: {safe(d.healthy)}</dd>" if d.healthy else "")
        + "</div>"
        for d in entries_of
    )
    return f'<dl class="glossary">{entries}</dl>' if entries else ""
