"""How time and memory grow: `bench memory` by samples, `bench scaling` by samples, vocabulary and length. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from plaudit.bench.compare import Plan, compare
from plaudit.bench.work import COMPARED, Sizes, Work, work
from plaudit.schema import JSON, UserError
from plaudit.training.progress import Progress

FACTORS = (1, 2, 4, 8)
LINEAR = 1.15
"""Time may grow by this much more than the work."""


def scaled(sizes: Sizes, samples: int = 1, length: int = 1) -> Sizes:
    """So many times the samples (rows, pairs, prompts) and the answers' length."""
    return replace(
        sizes,
        pairs=sizes.pairs * samples,
        prompts=sizes.prompts * samples,
        samples=sizes.samples * samples,
        words=(sizes.words[0] * length, sizes.words[1] * length),
        lengths=(sizes.lengths[0] * length, sizes.lengths[1] * length),
        new_tokens=sizes.new_tokens * length,
    )


def memory(base: Work, sizes: Sizes, plan: Plan, progress: Progress, factors: Sequence[int] = FACTORS) -> JSON:
    """Peaks of ours (and the peer's) with more samples in one step: {"name", "of", "points": [...], "growth"}.

    One cold step of each side is enough, since a peak does not vary from turn to turn. `growth` is the last peak of ours over
    the first.
    """
    known(base.name)
    points = []
    for factor in factors:
        one = grown(base, scaled(sizes, samples=factor))
        found, _ = compare(replace(one, warmup=0, steps=1), replace(plan, rounds=1), progress)
        points.append({"what": f"samples x{factor}", **found})
    growth = points[-1]["ours"]["peak_gb"] / points[0]["ours"]["peak_gb"]
    return {"name": "memory", "of": base.name, "points": points, "growth": growth}


def scaling(base: Work, sizes: Sizes, plan: Plan, progress: Progress) -> JSON:
    """Ours against itself at other sizes: {"name", "of", "points": [...]}.

    Each point has `time_over_work`, how much more the time grew than the operations counted (at most 1.15 is linear), and
    `memory_growth`, its peak over the first's.
    """
    known(base.name)
    if plan.against:
        raise UserError("bench scaling compares with itself, so leave --against out")
    works = {
        "base": grown(base, sizes),
        "samples x8": grown(base, scaled(sizes, samples=8)),
        "vocabulary x4": replace(grown(base, sizes), vocabulary=4),
        "length x4": grown(base, scaled(sizes, length=4)),
    }
    measured = {what: compare(one, plan, progress) for what, one in works.items()}
    first, work_first = measured["base"]
    points = [
        {
            "what": what,
            **found,
            "time_over_work": found["ours"]["seconds"] / first["ours"]["seconds"] / (operations / work_first),
            "memory_growth": found["ours"]["peak_gb"] / first["ours"]["peak_gb"],
        }
        for what, (found, operations) in measured.items()
    ]
    return {"name": "scaling", "of": base.name, "points": points}


def known(name: str) -> None:
    """UserError for a benchmark that cannot be grown."""
    if name not in COMPARED:
        raise UserError(f"--of {name} is no benchmark; it can be {', '.join(COMPARED)}")


def grown(base: Work, sizes: Sizes) -> Work:
    """The same job at another size."""
    kept = {name: getattr(base, name) for name in ("warmup", "steps", "peft")}
    return work(base.name, base.model, sizes, base.seed, **kept)
