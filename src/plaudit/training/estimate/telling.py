"""An estimate as JSON and as text for a person."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from plaudit.schema import JSON
from plaudit.training.estimate.gpus import LAUNCH, PRICED, STREAMED, UTILISATION
from plaudit.training.estimate.parts import MEMORY_RANGE, Estimate, Place
from plaudit.training.files import write_text


def as_json(found: Estimate) -> JSON:
    """All figures, with units in their names and an interval beside each that is not exact."""
    return {
        "verb": found.verb,
        "model": found.model,
        "parameters": found.parameters,
        "trained_parameters": found.trained,
        "dtype": found.dtype,
        "steps": found.counts.steps,
        "evaluations": found.counts.evaluations,
        "checkpoints": found.counts.checkpoints,
        "tokens_per_step": found.tokens,
        "memory": {
            "bytes": found.memory.total,
            "interval_bytes": _interval(found.memory.total, MEMORY_RANGE),
            "moment": found.memory.moment,
            "parts_bytes": dict(found.memory.parts),
            "moments_bytes": dict(found.memory.moments),
        },
        "flops": {"total": sum(found.flops.values()), "parts": found.flops},
        "here": None if found.here is None else {**_place(found.here), **found.rates},
        "gpus": [_place(place) for place in found.others],
        "assumed": {"priced": PRICED, "mfu": UTILISATION, "share_of_bandwidth": STREAMED, "seconds_to_start_a_kernel": LAUNCH},
        "hints": [asdict(hint) for hint in found.hints],
        "notes": list(found.notes),
    }


def keep(path: Path, found: Estimate) -> None:
    """Write it as a file."""
    write_text(path, json.dumps(as_json(found), indent=2, ensure_ascii=False) + "\n")


def _place(place: Place) -> JSON:
    cost = place.cost
    return {
        "name": place.name,
        "seconds": place.total,
        "interval_seconds": _interval(place.total, place.interval),
        "step_seconds": place.step,
        "phases_seconds": dict(place.seconds),
        "fits": place.fits,
        "memory_bytes": place.memory_bytes,
        "dollars_per_hour": place.price,
        "dollars": cost,
        "interval_dollars": None if cost is None else _interval(cost, place.interval),
        "measured": place.measured,
    }


def _interval(value: float, ends: tuple[float, float]) -> list[float]:
    return [value * ends[0], value * ends[1]]
