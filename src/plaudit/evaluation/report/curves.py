"""Charts over steps as inline SVG: one small figure for each curve, readable without script and in black and white."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from plaudit.evaluation.report.parts import Curve, Points
from plaudit.evaluation.report.words import figure, known, rounded, safe

WIDTH, HEIGHT = 360.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 12.0, 12.0, 26.0
HOVERS = 120
"""At most so many places of a chart show their values on hover."""
SHAPES = 4
"""Line styles that the style sheet tells apart; further lines reuse the last."""


def nice_ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within [low, high], about `count` of them.

    Heckbert, "Nice numbers for graph labels", Graphics Gems 1990. [low] where the range is empty.
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * (1 if raw < 1.5 * power else 2 if raw < 3 * power else 5 if raw < 7 * power else 10)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) + 0.0 for k in range(first, last + 1)]


def tick_label(value: float, ticks: Sequence[float]) -> str:
    """A tick with as many decimals as the distance between ticks needs."""
    step = min((b - a for a, b in pairwise(ticks)), default=0.0)
    if step == 0 or max(abs(t) for t in ticks) >= 1e6 or step < 1e-4:
        return figure(value) if step == 0 else f"{value:.3g}".replace("-", "−")
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{decimals}f}".replace("-", "−").replace(",", "\u202f")


def segments(points: Points) -> list[list[tuple[float, float]]]:
    """The points cut at every value (or step) that is not finite; empty pieces left out."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for step, value in points:
        if known(step) and known(value):
            pieces[-1].append((step, value))
        else:
            pieces.append([])
    return [piece for piece in pieces if piece]


@dataclass(frozen=True)
class Line:
    """One line of a chart: its finite pieces and what was left out."""

    label: str
    pieces: list[list[tuple[float, float]]]
    gaps: int
    shape: int

    @property
    def points(self) -> list[tuple[float, float]]:
        return [point for piece in self.pieces for point in piece]


def lines(curve: Curve) -> list[Line]:
    """The chart's lines, the main one first; a line without one finite value stays, so that its emptiness is seen."""
    every = [(curve.label, curve.points), *curve.others.items()]
    made = []
    for place, (label, points) in enumerate(every):
        pieces = segments(points)
        made.append(Line(label, pieces, len(points) - sum(map(len, pieces)), min(place, SHAPES - 1)))
    return made


@dataclass(frozen=True)
class Frame:
    """The ranges of a chart's axes, and from there to places in the picture."""

    x: tuple[float, float]
    y: tuple[float, float]
    only: float | None = None
    """The step, where there is but one."""

    def px(self, step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - self.x[0]) / (self.x[1] - self.x[0])

    def py(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - self.y[0]) / (self.y[1] - self.y[0])


def frame(points: Sequence[tuple[float, float]], band: tuple[float | None, float | None] | None) -> Frame:
    """Axes around all points with some air; an edge of the healthy band is taken in where that does not flatten the line."""
    steps, values = [p[0] for p in points], [p[1] for p in points]
    low, high = min(values), max(values)
    span = high - low
    for edge in band or ():
        if known(edge) and low - span <= edge <= high + span:  # type: ignore[operator]
            low, high = min(low, edge), max(high, edge)  # type: ignore[type-var, assignment]
    air = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    first, last = min(steps), max(steps)
    if first == last:
        return Frame((first - 1, last + 1), (low - air, high + air), only=first)
    return Frame((first, last), (low - air, high + air))


def chart(curve: Curve) -> str:
    """One `<figure>`: name and latest value, the plot, its extremes and what it means."""
    made = lines(curve)
    points = [point for line in made for point in line.points]
    name = f'<h3>{safe(curve.name)} <span class="unit">{safe(curve.unit)}</span></h3>'
    head = f'<div class="chart-head">{name}{_latest(made)}</div>'
    plot = _plot(curve, made, frame(points, curve.band)) if points else '<p class="empty">No measurements</p>'
    return f'<figure class="chart">{head}{plot}<figcaption>{_caption(curve, made)}</figcaption></figure>'


def _latest(made: list[Line]) -> str:
    if len(made) == 1:
        return f'<p class="latest"><strong>{figure(made[0].points[-1][1] if made[0].points else None)}</strong></p>'
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 18 6" aria-hidden="true"><path class="line s{line.shape}" d="M0 3H18"/></svg>'
        f"{safe(line.label)} <strong>{figure(line.points[-1][1] if line.points else None)}</strong></span>"
        for line in made
    )
    return f'<p class="latest keys">{keys}</p>'


def _caption(curve: Curve, made: list[Line]) -> str:
    facts = []
    if len(points := made[0].points) > 1:
        lowest, highest = min(points, key=lambda p: p[1]), max(points, key=lambda p: p[1])
        whose = f"{made[0].label}: " if len(made) > 1 and made[0].label else ""
        low, high = (f"{figure(value)} at step {figure(step)}" for step, value in (lowest, highest))
        facts.append(f"{whose}lowest {low}, highest {high}")
    elif points:
        facts.append(f"one measurement, at step {figure(points[0][0])}")
    if healthy := band_words(curve.band):
        facts.append(f"healthy range {healthy}")
    if gaps := sum(line.gaps for line in made):
        facts.append(f"{gaps} value{'s' if gaps > 1 else ''} not finite, left as a gap")
    stated = "; ".join(facts)
    if not (len(made) > 1 and made[0].label):  # a label is somebody's name for it
        stated = stated[:1].upper() + stated[1:]
    stated = f'<span class="facts">{safe(stated)}.</span>' if stated else ""
    return f"{safe(curve.help)} {stated}".strip()


def band_words(band: tuple[float | None, float | None] | None) -> str:
    """The healthy range in words: "0 to 10", "above 0.2", "below 0.3"; empty without one."""
    low, high = band or (None, None)
    if known(low) and known(high):
        return f"{rounded(low)} to {rounded(high)}"
    if known(low):
        return f"above {rounded(low)}"
    return f"below {rounded(high)}" if known(high) else ""


def _plot(curve: Curve, made: list[Line], axes: Frame) -> str:
    drawn = [_band(curve, axes), _grid(axes)]
    for line in reversed(made):  # the main line is drawn last, over the others
        path = " ".join(
            "M" + " L".join(f"{axes.px(s):.1f} {axes.py(v):.1f}" for s, v in piece) for piece in line.pieces if len(piece) > 1
        )
        drawn.append(f'<path class="line s{line.shape}" d="{path}"/>' if path else "")
        ends = dict.fromkeys([piece[0] for piece in line.pieces if len(piece) == 1] + line.points[-1:])
        drawn.extend(f'<circle class="dot s{line.shape}" cx="{axes.px(s):.1f}" cy="{axes.py(v):.1f}" r="3"/>' for s, v in ends)
    drawn.append(_hovers(curve, made, axes))
    label = safe(described(curve, made))
    return f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{label}">{"".join(drawn)}</svg>'


def described(curve: Curve, made: list[Line]) -> str:
    """The chart in words, for those who do not see it."""
    said = [f"{curve.name}, {curve.unit}."]
    for line in made:
        name = f"{line.label}: " if line.label else ""
        if not line.points:
            said.append(f"{name}no measurements.")
            continue
        (first, start), (last, end) = line.points[0], line.points[-1]
        said.append(f"{name}{figure(start)} at step {figure(first)}, {figure(end)} at step {figure(last)}.")
    return " ".join(said)


def _band(curve: Curve, axes: Frame) -> str:
    if not band_words(curve.band) or curve.band is None:
        return ""
    low = axes.y[0] if not known(curve.band[0]) else max(axes.y[0], min(axes.y[1], curve.band[0]))  # type: ignore[type-var]
    high = axes.y[1] if not known(curve.band[1]) else max(axes.y[0], min(axes.y[1], curve.band[1]))  # type: ignore[type-var]
    if not high > low:  # type: ignore[operator]
        return ""
    top, bottom = axes.py(high), axes.py(low)  # type: ignore[arg-type]
    return (
        f'<rect class="band" x="{LEFT:.0f}" y="{top:.1f}" width="{WIDTH - LEFT - RIGHT:.0f}" height="{bottom - top:.1f}">'
        f"<title>healthy: {band_words(curve.band)}</title></rect>"
    )


def _grid(axes: Frame) -> str:
    parts = []
    ticks = nice_ticks(*axes.y, count=3)
    for value in ticks:
        y = axes.py(value)
        parts.append(f'<path class="grid" d="M{LEFT:.0f} {y:.1f}H{WIDTH - RIGHT:.0f}"/>')
        parts.append(
            f'<text class="tick" x="{LEFT - 8:.0f}" y="{y + 3.5:.1f}" text-anchor="end">{tick_label(value, ticks)}</text>'
        )
    steps = [axes.only] if axes.only is not None else [s for s in nice_ticks(*axes.x) if s == int(s)]
    for place, step in enumerate(steps):
        x = axes.px(step)
        anchor = "end" if x > WIDTH - RIGHT - 14 else "middle"
        word = "step " if place == 0 else ""
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - 8:.0f}" text-anchor="{anchor}">{word}{tick_label(step, steps)}</text>'
        )
    return "".join(parts)


def _hovers(curve: Curve, made: list[Line], axes: Frame) -> str:
    """Strips over the plot, one per step (thinned to `HOVERS`): each shows its values and marks the points."""
    at: dict[float, list[tuple[Line, float]]] = {}
    for line in made:
        for step, value in line.points:
            at.setdefault(step, []).append((line, value))
    steps = sorted(at)
    stride = math.ceil(len(steps) / HOVERS)
    shown = steps[::-1][::stride][::-1]  # from the end, so that the last step is always there
    edges = [(a + b) / 2 for a, b in pairwise(shown)]
    strips = []
    for step, low, high in zip(shown, [axes.x[0], *edges], [*edges, axes.x[1]], strict=True):
        said = "; ".join(f"{line.label} {figure(v)}".strip() for line, v in at[step])
        marks = "".join(f'<circle class="mark" cx="{axes.px(step):.1f}" cy="{axes.py(v):.1f}" r="3.5"/>' for _, v in at[step])
        x, width = axes.px(low), axes.px(high) - axes.px(low)
        strips.append(
            f'<g class="at"><title>{safe(f"step {figure(step)}: {said} {curve.unit}")}</title>'
            f'<rect x="{x:.1f}" y="{TOP:.0f}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM:.0f}"/>{marks}</g>'
        )
    return "".join(strips)
