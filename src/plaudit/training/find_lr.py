"""The learning-rate finder (Smith 2017, arXiv 1506.01186): train a little while the rate climbs, and look at the loss.

The rate goes up by one factor a step. The loss is smoothed, l <- 0.98 l + 0.02 loss, its start corrected, and the sweep ends
where it is four times its lowest. Two rates are read off: where the loss falls fastest (per factor of the rate), and a tenth
of the one where it is lowest; the lower of the two is suggested. It is a hint from a few noisy steps, no measurement.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from plaudit.config import Resolved
from plaudit.schema import JSON, UserError
from plaudit.training.build import algorithm_class, build
from plaudit.training.files import write_text
from plaudit.training.folder import RunFolder
from plaudit.training.learner import Learner
from plaudit.training.loop import Loop
from plaudit.training.options import OptimizerConfig, TrainingConfig
from plaudit.training.progress import Progress, shown
from plaudit.training.run import settled

KEEP, DIVERGED = 0.98, 4.0
LEAST = 10
"""Steps that a sweep must have before anything is read off."""


@dataclass(frozen=True)
class Sweep:
    """Learning rates and the losses of the steps that were taken with them."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    diverged: bool

    @property
    def smooth(self) -> list[float]:
        """The smoothed losses."""
        return smoothed(self.losses)

    def suggestion(self) -> tuple[float, float, float]:
        """(suggested, steepest, a tenth of the lowest). UserError where the sweep was too short to say."""
        if len(self.rates) < LEAST:
            raise UserError(
                f"the sweep diverged after {len(self.rates)} steps, before anything could be read off; lower --start, or "
                "take more --steps"
            )
        curve = self.smooth
        slopes = [math.nan, *((curve[i + 1] - curve[i - 1]) / 2 for i in range(1, len(curve) - 1)), math.nan]
        lowest = min(range(len(curve)), key=curve.__getitem__)
        before = [i for i in range(LEAST // 2, max(lowest, LEAST // 2) + 1) if not math.isnan(slopes[i])]
        steepest = self.rates[min(before, key=slopes.__getitem__)]
        tenth = self.rates[lowest] / 10
        return min(steepest, tenth), steepest, tenth


def smoothed(losses: Sequence[float], keep: float = KEEP) -> list[float]:
    """The exponential moving average, divided by 1 - keep^t so that its start is not pulled to 0."""
    found, value = [], 0.0
    for step, loss in enumerate(losses, 1):
        value = keep * value + (1 - keep) * loss
        found.append(value / (1 - keep**step))
    return found


def rates(start: float, end: float, steps: int) -> list[float]:
    """`steps` rates from `start` to `end`, each the same factor above the one before."""
    return [start * (end / start) ** (i / (steps - 1)) for i in range(steps)]


def find_lr(
    name: str,
    resolved: Resolved,
    *,
    start: float = 1e-7,
    end: float = 1.0,
    steps: int = 100,
    progress: Progress | None = None,
) -> JSON:
    """Sweep, and write lr_finder.json and lr_finder.svg into the run's folder, which must hold no run yet.

    No checkpoint and no log is written and nothing that was trained is kept. UserError for algorithms that sample their rows,
    and for a sweep that cannot be.
    """
    if progress is None:
        with shown() as bar:
            return find_lr(name, resolved, start=start, end=end, steps=steps, progress=bar)
    if algorithm_class(name).eats == "prompts":
        raise UserError(f"the learning-rate finder is for algorithms that train on files; {name} samples its own rows")
    if not (0 < start < end and steps >= LEAST):
        raise UserError(f"a sweep goes from a lower --start to a higher --end in at least {LEAST} --steps")
    path = Path(resolved[TrainingConfig].output_dir)
    resolved = settled(name, resolved, None)
    with RunFolder(path, resolved.flat(), resume=False) as folder:
        loop = build(name, resolved, folder, progress)
        progress.task("learning rates", steps)
        sweep = _sweep(loop, rates(start, end, steps), progress)
        suggested, steepest, tenth = sweep.suggestion()
        found: JSON = {
            "suggestion": suggested,
            "steepest": steepest,
            "min_over_10": tenth,
            "diverged": sweep.diverged,
            "learning_rate": list(sweep.rates),
            "loss": list(sweep.losses),
            "smoothed": sweep.smooth,
        }
        write_text(path / "lr_finder.json", json.dumps(found, indent=2) + "\n")
        write_text(path / "lr_finder.svg", plot(sweep, suggested))
    return {
        "suggestion": suggested,
        "steepest": steepest,
        "min_over_10": tenth,
        "steps": len(sweep.rates),
        "plot": str(path / "lr_finder.svg"),
    }


def _sweep(loop: Loop, wanted: Sequence[float], progress: Progress) -> Sweep:
    learner: Learner = loop.learner
    options: OptimizerConfig = learner.optimizer
    taken: list[float] = []
    losses: list[float] = []
    for step, rate in enumerate(wanted):
        learner.optimizer = replace(options, learning_rate=rate, lr_scheduler_type="constant", warmup_steps=0)
        told = learner.step(loop.source.at(step, learner).batch.to(learner.device))
        if told["refused"] or not math.isfinite(told["loss"]):
            return Sweep(tuple(taken), tuple(losses), True)
        taken.append(rate)
        losses.append(told["loss"])
        progress.advance(step + 1, {"lr": rate, "loss": told["loss"]})
        curve = smoothed(losses)
        if step >= LEAST and curve[-1] > DIVERGED * min(curve):
            return Sweep(tuple(taken), tuple(losses), True)
    return Sweep(tuple(taken), tuple(losses), False)


WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 400, 70, 40, 20, 50


def plot(sweep: Sweep, suggested: float) -> str:
    """The smoothed loss over the learning rate (on a logarithmic axis) as SVG, with the suggestion marked."""
    logs, curve = [math.log10(rate) for rate in sweep.rates], sweep.smooth
    low, high = min(curve), min(max(curve), 2 * curve[0] if curve[0] > 0 else max(curve))
    high = high if high > low else low + 1.0

    def x(value: float) -> float:
        return LEFT + (value - logs[0]) / (logs[-1] - logs[0]) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - min(value, high)) / (high - low) * (HEIGHT - TOP - BOTTOM)

    points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(logs, curve, strict=True))
    marks = [
        f'<text x="{x(p):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">1e{p}</text>'
        f'<path d="M{x(p):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>'
        for p in range(math.ceil(logs[0]), math.floor(logs[-1]) + 1)
    ]
    marks += [
        f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:.4g}</text>' for v in (low, (low + high) / 2, high)
    ]
    at = x(math.log10(suggested)) if sweep.rates[0] <= suggested <= sweep.rates[-1] else LEFT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' font-family="sans-serif" font-size="12">'
        f"<title>Smoothed loss over the learning rate; {suggested:.2g} is suggested</title>"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>{"".join(marks)}'
        f'<polyline points="{points}" fill="none" stroke="#2962a8" stroke-width="2"/>'
        f'<path d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#b3261e" stroke-dasharray="5 4"/>'
        f'<text x="{at:.1f}" y="{TOP - 12}" text-anchor="middle" fill="#b3261e">suggested: {suggested:.2g}</text>'
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">learning rate</text>'
        f'<text x="16" y="{TOP - 12}">loss, smoothed</text></svg>\n'
    )
