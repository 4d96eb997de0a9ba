"""Points with intervals as inline SVG: the trials of a search, over their number or over the value of an option."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from plaudit.evaluation.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, nice_ticks, tick_label
from plaudit.evaluation.report.words import figure, known, safe


@dataclass(frozen=True)
class Point:
    """One point: where, its interval, what is said of it, and whether it stands out."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    said: str = ""
    marked: bool = False


@dataclass(frozen=True)
class Scatter:
    """A chart of points. `x` are numbers, or places in `labels`; a logarithmic axis needs numbers above 0."""

    name: str
    unit: str
    x_name: str
    points: Sequence[Point]
    labels: Sequence[str] = ()
    log: bool = False
    help: str = ""
    diagonal: bool = False
    """Draw the line where both axes have the same value."""


def scatter(one: Scatter) -> str:
    """One `<figure>`; points that are not finite are left out and counted in the caption."""
    shown = [p for p in one.points if known(p.x) and known(p.y)]
    gone = len(one.points) - len(shown)
    head = f'<div class="chart-head"><h3>{safe(one.name)} <span class="unit">{safe(one.unit)}</span></h3></div>'
    plot = _plot(one, shown) if shown else '<p class="empty">No measurements</p>'
    left_out = f" {gone} not finite, left out." if gone else ""
    axis = f'<p class="axis-name" aria-hidden="true">{safe(one.x_name)}</p>' if shown else ""
    return f'<figure class="chart">{head}{plot}{axis}<figcaption>{safe(one.help)}{left_out}</figcaption></figure>'


def _plot(one: Scatter, points: Sequence[Point]) -> str:
    at = math.log10 if one.log else float
    xs = [at(p.x) for p in points]
    ys = [v for p in points for v in (p.y, p.low, p.high) if known(v) and v is not None]
    x_low, x_high, y_low, y_high = min(xs), max(xs), min(ys), max(ys)
    x_air = 0.06 * (x_high - x_low) or 0.5
    y_air = 0.08 * (y_high - y_low) or 0.1 * abs(y_high) or 1.0
    x_low, x_high, y_low, y_high = x_low - x_air, x_high + x_air, y_low - y_air, y_high + y_air

    def px(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at(x) - x_low) / (x_high - x_low)

    def py(y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (y - y_low) / (y_high - y_low)

    parts = []
    ticks = nice_ticks(y_low, y_high, count=3)
    for value in ticks:
        parts.append(f'<path class="grid" d="M{LEFT:.0f} {py(value):.1f}H{WIDTH - RIGHT:.0f}"/>')
        label = tick_label(value, ticks)
        parts.append(f'<text class="tick" x="{LEFT - 8:.0f}" y="{py(value) + 3.5:.1f}" text-anchor="end">{label}</text>')
    for x, label in _marks(one, points, x_low, x_high):
        parts.append(f'<text class="tick" x="{px(x):.1f}" y="{HEIGHT - 8:.0f}" text-anchor="middle">{safe(label)}</text>')
    if one.diagonal and (low := max(x_low, y_low)) < (high := min(x_high, y_high)):
        parts.append(f'<path class="line s2" d="M{px(low):.1f} {py(low):.1f}L{px(high):.1f} {py(high):.1f}"/>')
    for p in sorted(points, key=lambda p: p.marked):
        if p.low is not None and p.high is not None and known(p.low) and known(p.high):
            parts.append(f'<path class="line s{1 - p.marked}" d="M{px(p.x):.1f} {py(p.low):.1f}V{py(p.high):.1f}"/>')
        said = p.said or f"{one.x_name} {figure(p.x)}: {figure(p.y)} {one.unit}"
        parts.append(
            f'<circle class="dot s{1 - p.marked}" cx="{px(p.x):.1f}" cy="{py(p.y):.1f}" r="{4 if p.marked else 3}">'
            f"<title>{safe(said)}</title></circle>"
        )
    label = safe(f"{one.name}, {one.unit}, over {one.x_name}: {len(points)} points.")
    return f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _marks(one: Scatter, points: Sequence[Point], low: float, high: float) -> list[tuple[float, str]]:
    """Places on the x axis and what stands there."""
    if one.labels:
        return list(enumerate(one.labels))
    if one.log:
        ends = sorted({min(p.x for p in points), max(p.x for p in points)})
        powers = [10.0**k for k in range(math.ceil(low), math.floor(high) + 1)]
        return [(x, f"{x:.0e}".replace("e-0", "e-").replace("e+0", "e")) for x in (powers if len(powers) > 1 else ends)]
    ticks = nice_ticks(low, high)
    return [(x, tick_label(x, ticks)) for x in ticks]
