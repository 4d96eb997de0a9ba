"""OpenAI's summarize-from-feedback (Stiennon et al. 2020): comparisons of two summaries, and summaries with ratings.

The prompt is text in the form of that paper's appendix: SUBREDDIT, TITLE, POST, and "TL;DR:" for the summary to follow.
"""

from __future__ import annotations

from typing import Any

from plaudit.data.layouts.base import Layout, Tally, others
from plaudit.schema import JSON, UserError


def recognises(row: JSON) -> bool:
    return isinstance(row.get("info"), dict) and (
        ("summaries" in row and "choice" in row) or isinstance(row.get("summary"), dict)
    )


def convert(row: JSON, where: str, wants: str, tally: Tally) -> list[JSON]:
    """A pair from `summaries` and `choice`; a rated answer from `summary` and its axis `overall` (1 to 7)."""
    if not isinstance(row.get("info"), dict):
        raise UserError(f"{where}, info: must be an object with the post or article.")
    prompt = written(row["info"], where)
    if "summary" in row:
        summary = row["summary"]
        axes = summary.get("axes") or {} if isinstance(summary, dict) else {}
        if axes.get("overall") is None:
            tally["summaries left out: not rated overall"] += 1
            return []
        rest = others(row, "info", "summary") | {f"axis_{name}": value for name, value in axes.items() if name != "overall"}
        return [{**rest, "prompt": prompt, "completion": _text(summary, where), "rating": axes["overall"]}]
    summaries, choice = row.get("summaries"), row.get("choice")
    if not isinstance(summaries, list) or len(summaries) != 2 or choice not in (0, 1) or isinstance(choice, bool):
        raise UserError(f"{where}: summaries must be a list of two, and choice 0 or 1.")
    better, worse = (_text(summaries[i], where) for i in (choice, 1 - choice))
    return [{**others(row, "info", "summaries", "choice"), "prompt": prompt, "chosen": better, "rejected": worse}]


def written(info: JSON, where: str) -> str:
    """The post or the article as the text to be summed up."""
    lines = [f"SUBREDDIT: r/{info['subreddit']}"] if info.get("subreddit") else []
    lines += [f"TITLE: {info['title'].strip()}"] if isinstance(info.get("title"), str) else []
    body = info.get("post") or info.get("article")
    if not isinstance(body, str):
        raise UserError(f"{where}, info: has neither a post nor an article (it has: {', '.join(info) or 'nothing'}).")
    lines.append(f"{'POST' if info.get('post') else 'ARTICLE'}: {body.strip()}")
    return "\n\n".join([*lines, "TL;DR:"])


def _text(summary: Any, where: str) -> str:
    found = summary.get("text") if isinstance(summary, dict) else None
    if not isinstance(found, str):
        raise UserError(f"{where}: a summary must be an object with text.")
    return " " + found.strip()


LAYOUT = Layout(
    "openai_comparisons", "OpenAI's summaries: info, summaries and choice; or info and a rated summary", recognises, convert
)
