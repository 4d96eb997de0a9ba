"""Answers of several models to one prompt, side by side, with the words that differ."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from plaudit.evaluation.report.parts import Answer, Comparison
from plaudit.evaluation.report.words import safe, score

DIFF_LIMIT = 1500
"""Words of one answer beyond which no difference is sought: the search takes quadratic time."""
LONG = 1800
"""Characters beyond which a text gets its own scroll bar on screen."""

Marked = list[tuple[str, bool]]


def word_diff(before: str, after: str) -> tuple[Marked, Marked]:
    """Both texts in pieces (text, differs), which joined give each text back. Words are compared, white space is not.

    Texts beyond `DIFF_LIMIT` words come back in one piece that does not differ.
    """
    left, right = (re.findall(r"\s*\S+|\s+$", text) for text in (before, after))
    if max(len(left), len(right)) > DIFF_LIMIT:
        return [(before, False)], [(after, False)]
    match = difflib.SequenceMatcher(None, [w.strip() for w in left], [w.strip() for w in right], autojunk=False)
    old: Marked = []
    new: Marked = []
    for kind, a, b, c, d in match.get_opcodes():
        if a < b:
            old.append(("".join(left[a:b]), kind != "equal"))
        if c < d:
            new.append(("".join(right[c:d]), kind != "equal"))
    return old, new


def comparison(shown: Comparison) -> str:
    """One prompt with its answers: SFT, PPO, and the untouched model where there is one."""
    old, new = word_diff(shown.before.text, shown.after.text)
    columns = [_column("Untouched model", shown.base, [(shown.base.text, False)], "base")] if shown.base else []
    columns += [_column("Before PPO (SFT)", shown.before, old, "before"), _column("After PPO", shown.after, new, "after")]
    note = f'<p class="small">{safe(shown.note)}</p>' if shown.note else ""
    prompt = f'<p class="label">Prompt</p><div class="text prompt" dir="auto">{safe(shown.prompt)}</div>'
    body = f'<div class="columns of{len(columns)}">{"".join(columns)}</div>'
    return f'<article class="comparison"><header>{prompt}{note}</header>{body}</article>'


def _marked(text: str) -> str:
    """A piece that differs; the space before its first word stays unmarked."""
    words = text.lstrip()
    return f'{safe(text[: len(text) - len(words)])}<span class="differs">{safe(words)}</span>'


def _column(title: str, answer: Answer, pieces: Sequence[tuple[str, bool]], kind: str) -> str:
    body = "".join(_marked(text) if differs else safe(text) for text, differs in pieces)
    if not answer.text:
        body = '<span class="faint">(empty answer)</span>'
    cut = '<span class="cut" title="It ran into the length limit">… cut off</span>' if answer.truncated else ""
    long = ' long" tabindex="0" role="region" aria-label="Long answer' if len(answer.text) > LONG else ""
    scores = "".join(f"<div><dt>{safe(name)}</dt><dd>{score(value)}</dd></div>" for name, value in answer.scores.items())
    return (
        f'<section class="answer {kind}"><h4>{title}</h4><div class="text{long}" dir="auto">{body}{cut}</div>'
        + (f'<dl class="scores">{scores}</dl>' if scores else "")
        + "</section>"
    )
