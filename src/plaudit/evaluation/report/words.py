"""From values to text on a page. Model output is hostile: it passes through `safe` and nowhere else."""

from __future__ import annotations

import html
import math
import unicodedata

DASH = "–"
ALLOWED = {"\n", "\t", "\u200c", "\u200d"}
"""Characters of the categories below that ordinary text needs: line ends, tabs, joiners of Persian and of emoji."""


def visible(text: str) -> str:
    """`text` with every character that acts without being seen written out, such as `⟨U+202E⟩`.

    Control characters get their Unicode pictures (NUL is ␀). Format characters (bidirectional overrides, zero-width
    spaces, tags), line separators, lone surrogates, private and unassigned ones get their number.
    """
    text = text.replace("\r\n", "\n")
    return "".join(c if c in ALLOWED or not _acts(c) else _name(c) for c in text)


def _acts(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] == "C" or category in ("Zl", "Zp")


def _name(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟨U+{code:04X}⟩"


def safe(value: object) -> str:
    """Any value as text for an HTML element or a quoted attribute: hidden characters shown, markup escaped."""
    return html.escape(visible(str(value)), quote=True)


def known(value: float | None) -> bool:
    """True for a finite number."""
    return value is not None and math.isfinite(value)


def figure(value: float | None) -> str:
    """A number to read: about three digits that count, a real minus sign, a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    if value == int(value) and size < 1e15:
        text = f"{int(value):,}"
    elif size >= 1000:
        text = f"{value:,.0f}"
    elif size >= 0.001:
        text = f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"
    else:
        text = f"{value:.1e}"
    return text.replace("-", "−").replace(",", "\u202f")


def rounded(value: float | None) -> str:
    """A number that someone chose, such as a limit, without trailing zeros: `0.2`, `10`."""
    return f"{value:g}".replace("-", "−") if known(value) else DASH


def score(value: float | None) -> str:
    """A score with two decimals, so that a row of them reads evenly."""
    return f"{value:.2f}".replace("-", "−") if known(value) else DASH


def percent(share: float | None) -> str:
    """A share (0 to 1) in per cent, with one decimal below 10 % and above 99 %."""
    if not known(share):
        return DASH
    assert share is not None
    if 0 < share < 0.0005:
        return "under 0.1%"
    small = 0 < abs(share) < 0.0995 or 0.99 < share < 1
    return f"{100 * share:.{1 if small else 0}f}%".replace("-", "−")


def duration(seconds: float | None) -> str:
    """Seconds as a person says them: `8.4 s`, `3 min 20 s`, `1 h 02 min`."""
    if not known(seconds):
        return DASH
    assert seconds is not None
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def sentence(text: str) -> str:
    """The text with a full stop at its end."""
    return text if not text or text[-1] in ".!?" else text + "."
