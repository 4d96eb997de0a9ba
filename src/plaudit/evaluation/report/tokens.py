"""One answer token by token, coloured by what training saw there.

Every stream has its own scale, symmetric around zero: nine shades from -4 to +4, where 4 is the 95th percentile of the
absolute values, so that one large value (the score on the last token) does not turn the rest grey. What lies beyond it
has the strongest shade, and the tooltip has the number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from plaudit.evaluation.report.glossary import STREAMS
from plaudit.evaluation.report.parts import TokenTrace
from plaudit.evaluation.report.words import figure, safe

SHADES = 4
"""Shades on each side of zero."""


def scale(values: Sequence[float | None]) -> float:
    """The absolute value that gets the strongest shade: the 95th percentile (nearest rank), else the largest; 0 without any."""
    sizes = sorted(abs(v) for v in values if v is not None and math.isfinite(v))
    if not sizes:
        return 0.0
    return sizes[math.ceil(0.95 * len(sizes)) - 1] or sizes[-1]


def shade(value: float | None, full: float) -> str:
    """Class of a value's colour: `n4` ... `n1` below zero, `z` around it, `p1` ... `p4` above, `none` without a value."""
    if value is None or not math.isfinite(value):
        return "none"
    level = min(SHADES, round(SHADES * abs(value) / full)) if full > 0 else 0
    return "z" if level == 0 else f"{'p' if value > 0 else 'n'}{level}"


def trace(shown: TokenTrace, number: int = 0) -> str:
    """The view of one answer: stream picker (with script), legend, coloured text, and a table of every value."""
    if not shown.tokens:
        return '<p class="empty">This answer has no tokens.</p>'
    names = list(shown.streams)
    start = shown.default or ("advantage" if "advantage" in names else names[0] if names else "")
    full = {name: scale(values) for name, values in shown.streams.items()}
    prompt = f'<p class="label">Prompt</p><div class="text" dir="auto">{safe(shown.prompt)}</div>' if shown.prompt else ""
    note = f'<p class="small">{safe(shown.note)}</p>' if shown.note else ""
    place = names.index(start) if names else 0
    return (
        f'<div class="trace" data-start="{place}">{note}{prompt}{_picker(names, start, full, number)}{_legend(start, full)}'
        f'<div class="tokens" role="group" aria-label="The answer, token by token">{_tokens(shown, start, full)}</div>'
        f'<p class="readout small" aria-live="polite"></p>{_table(shown)}</div>'
    )


def _picker(names: Sequence[str], start: str, full: dict[str, float], number: int) -> str:
    options = "".join(
        f'<label><input type="radio" name="stream-{number}" value="{i}" data-scale="{figure(full[name])}" '
        f'data-help="{safe(STREAMS.get(name, ""))}"{" checked" if name == start else ""}><span>{safe(name)}</span></label>'
        for i, name in enumerate(names)
    )
    return f'<fieldset class="picker needs-script"><legend class="hidden">Colour the tokens by</legend>{options}</fieldset>'


def _legend(start: str, full: dict[str, float]) -> str:
    if not start:
        return ""
    size = figure(full[start])
    levels = [f"n{i}" for i in range(SHADES, 0, -1)] + ["z"] + [f"p{i}" for i in range(1, SHADES + 1)]
    swatches = "".join(f'<i class="{level}"></i>' for level in levels)
    return (
        f'<div class="legend"><span class="swatches" aria-hidden="true">{swatches}</span>'
        f'<span class="ends"><span>≤ <span class="sign">−</span><span class="size">{size}</span></span><span>0</span>'
        f'<span>≥ <span class="size">{size}</span></span></span>'
        f'<p class="small"><b class="which">{safe(start)}</b> '
        f'<span class="help">{safe(STREAMS.get(start, ""))}</span></p></div>'
    )


def _tokens(shown: TokenTrace, start: str, full: dict[str, float]) -> str:
    parts = []
    for t, token in enumerate(shown.tokens):
        levels = [shade(values[t], full[name]) for name, values in shown.streams.items()]
        first = shade(shown.streams[start][t], full[start]) if start else "none"
        said = "\n".join([f"token {t + 1}: {_quoted(token)}", *(f"{n} {figure(v[t])}" for n, v in shown.streams.items())])
        parts.append(f'<span class="tok {first}" data-c="{" ".join(levels)}" title="{safe(said)}">{_face(token)}</span>')
    return "".join(parts)


def _quoted(token: str) -> str:
    return "“" + token.replace("\n", "↵") + "”"


def _face(token: str) -> str:
    """A token as it is shown: line ends get a sign before they break, an empty one gets a sign so that it can be seen."""
    return safe(token).replace("\n", '<span class="faint">↵</span>\n') if token else '<span class="faint">∅</span>'


def _table(shown: TokenTrace) -> str:
    columns = "".join(f'<th scope="col" class="num">{safe(name)}</th>' for name in shown.streams)
    rows = "".join(
        f'<tr><td class="num">{t + 1}</td><th scope="row"><code>{safe(_quoted(token))}</code></th>'
        + "".join(f'<td class="num">{figure(values[t])}</td>' for values in shown.streams.values())
        + "</tr>"
        for t, token in enumerate(shown.tokens)
    )
    head = f'<thead><tr><th scope="col" class="num">#</th><th scope="col">token</th>{columns}</tr></thead>'
    scroll = '<div class="scroll" tabindex="0" role="region" aria-label="Values of every token">'
    table = f"{scroll}<table>{head}<tbody>{rows}</tbody></table></div>"
    return f"<details><summary>All values as a table</summary>{table}</details>"
