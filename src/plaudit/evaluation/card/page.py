"""The card as one offline HTML page. Prompts and answers are hostile text: everything goes through `safe`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from plaudit.evaluation.card.making import Card
from plaudit.evaluation.report import document, heading
from plaudit.evaluation.report.scatter import Point, Scatter, scatter
from plaudit.evaluation.report.words import figure, percent, safe
from plaudit.schema import JSON

LONG_CELL = 40
"""Letters beyond which a cell of a table keeps some width on a small screen."""
CALIBRATION = {
    "ece": "expected calibration error: how far its probabilities are off, on average",
    "log_loss": "log loss, nats per pair (guessing has 0.693)",
    "brier": "Brier score (guessing has 0.25)",
    "temperature": "temperature that makes it honest: above 1 it is too sure",
}


def card_page(card: Card, about: Sequence[tuple[str, str]] = ()) -> str:
    """The page as text; `about` are facts for its head."""
    f = card.figures
    facts = [
        ("Reward model", card.name),
        ("Data", card.data),
        ("Pairs", str(f["pairs"])),
        ("Prompts", str(f["prompts"])),
        *about,
    ]
    sections = [
        ("gate", "The gate, rule by rule", _reasons(card)),
        ("accuracy", "Beside what needs no model", _baselines(f)),
        ("calibration", "Are its probabilities as often right as they say?", _calibration(f["calibration"])),
        ("slices", "Accuracy by part", "".join(_slice(cut, parts) for cut, parts in f["slices"].items())),
        ("probes", "Changed answers", _probes(f["probes"])),
        ("disagreement", "Other reward models on the same pairs", _disagreement(f["disagreement"])),
        ("scores", "Where the scores lie", _scores(f["scores"])),
        ("worst", "Wrong and sure: its worst errors, or the labels'", "".join(map(_error, card.worst))),
    ]
    return document(
        f"Reward model card: {card.name}",
        heading(f"Reward model card: {card.name}", facts),
        _headline(card),
        [(key, title, body) for key, title, body in sections if body],
    )


def _headline(card: Card) -> str:
    word = "Gate shut" if card.shut else "Gate open"
    one = card.figures["accuracy"]
    text = f"It is right on {percent(one['accuracy'])} of the held-out pairs ({_ends(one['ci'])})."
    doubts = "".join(f"<li>{safe(r.says)}</li>" for r in card.reasons if r.state in ("act", "watch"))
    listed = f"<ul>{doubts}</ul>" if doubts else ""
    return (
        f'<section aria-label="Result"><div class="verdict"><p class="word">{word}</p><p class="text">{safe(text)}</p>'
        f"{listed}</div></section>"
    )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """A table of texts that are safe already; the first column heads its row. Where it is wider than the page, it scrolls."""
    head = "".join(f'<th scope="col">{safe(c)}</th>' for c in columns)
    body = "".join(f'<tr><th scope="row">{row[0]}</th>' + "".join(map(_cell, row[1:])) + "</tr>" for row in rows)
    title = f"<caption>{safe(caption)}</caption>" if caption else ""
    label = safe(caption or ", ".join(filter(None, columns)))
    scroll = f'<div class="wide" tabindex="0" role="region" aria-label="{label}">'
    return f"{scroll}<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def _cell(text: str) -> str:
    kind = ' class="prose"' if len(text) > LONG_CELL else ""
    return f"<td{kind}>{text}</td>"


def _ends(ci: Sequence[float] | None) -> str:
    return f"{percent(ci[0])} to {percent(ci[1])}" if ci else ""


def _reasons(card: Card) -> str:
    rows = [[safe(r.rule), safe(r.state), safe(r.says), figure(r.threshold), safe(r.source)] for r in card.reasons]
    return table(("rule", "state", "what was found", "threshold", "where the threshold comes from"), rows)


def _baselines(f: JSON) -> str:
    named = [("this reward model", f["accuracy"]), (f"the {f['baselines']['length']['rule']} answer", f["baselines"]["length"])]
    named += [
        ("words, lines, lists, bold (linear)", f["baselines"]["form"]),
        ("TF-IDF words (linear)", f["baselines"]["tfidf"]),
    ]
    rows = [[safe(name), percent(one["accuracy"]), _ends(one["ci"])] for name, one in named if one]
    rows += [["ceiling from the labels' agreement", percent(f["ceiling"]), ""]] if f["ceiling"] is not None else []
    return table(("", "accuracy", "95% interval"), rows)


def _calibration(one: JSON) -> str:
    points = [
        Point(b["said"], b["found"], b["ci"][0], b["ci"][1], said=f"said {percent(b['said'])}, right {percent(b['found'])}")
        for b in one["curve"]
    ]
    chart = scatter(
        Scatter(
            *("Share that was right", "share of pairs", "probability it gave", points),
            help="On the dotted diagonal it is as often right as it says. Bars are 95% intervals.",
            diagonal=True,
        )
    )
    rows = [[said, figure(one[name])] for name, said in CALIBRATION.items()]
    return f'<div class="charts">{chart}</div>{table(("figure", "value"), rows)}'


def _slice(cut: str, parts: Sequence[JSON]) -> str:
    rows = [[safe(p["part"]), percent(p["accuracy"]), _ends(p["ci"]), figure(p["pairs"]), figure(p["mean_gap"])] for p in parts]
    return table((cut, "accuracy", "95% interval", "pairs", "mean gap"), rows)


def _probes(found: Sequence[JSON]) -> str:
    rows = [
        [
            safe(p["probe"]),
            safe(p["about"]),
            "should lose" if p["broken"] else "should make no difference",
            percent(p["prefers"]),
            _ends(p["prefers_ci"]),
            figure(p["mean_gain"]),
            figure(p["answers"]),
        ]
        for p in found
    ]
    columns = ("change", "what it is", "what it should do", "preferred", "95% interval", "mean gain in score", "answers")
    return table(columns, rows) if rows else ""


def _disagreement(found: dict[str, Any]) -> str:
    names = ("same_choice", "accuracy", "spearman", "deviation_of_gaps_where_right", "deviation_of_gaps_where_wrong")
    rows = [[safe(other), *(figure(one.get(name)) for name in names), figure(one["pairs"])] for other, one in found.items()]
    columns = (
        "reward model",
        "same choice",
        "its accuracy",
        "rank correlation",
        "apart where right",
        "apart where wrong",
        "pairs",
    )
    return table(columns, rows) if rows else ""


def _scores(one: JSON) -> str:
    names = ("mean", "deviation", "mean_gap", "negative_gaps", "equal")
    rows = [[safe(name.replace("_", " ")), figure(one[name])] for name in names]
    rows += [[safe(f"quantile {name}"), figure(value)] for name, value in one["quantiles"].items()]
    return table(("figure", "value"), rows)


def _error(one: JSON) -> str:
    sides = "".join(
        f'<section class="answer {kind}"><h4>{title}, score {figure(one[f"score_{side}"])}</h4>'
        f'<div class="text" dir="auto">{safe(one[side])}</div></section>'
        for side, title, kind in (("chosen", "Chosen by the label", "before"), ("rejected", "Preferred by the model", "after"))
    )
    prompt = f'<p class="label">Prompt</p><div class="text prompt" dir="auto">{safe(one["prompt"])}</div>'
    return f'<article class="comparison"><header>{prompt}</header><div class="columns of2">{sides}</div></article>'
