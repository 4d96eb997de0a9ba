"""From work to seconds: by what was measured here, or by a GPU's data sheet and stated shares of its peaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from plaudit.training.estimate.gpus import LAUNCH, LAUNCHES, STREAMED, UTILISATION, Gpu
from plaudit.training.estimate.parts import Counts, Work
from plaudit.training.estimate.rates import Rates

DISK = 1e-9
"""Seconds per byte of a checkpoint where nothing was measured."""
STREAMS = 28
"""Bytes that AdamW reads and writes for one number: weight, gradient, two moments."""
Seconds = Callable[[Work], float]


def measured(rates: Rates, layers: int) -> Seconds:
    """Seconds of a work on the machine of these rates; `layers` are the policy's."""

    def of(work: Work) -> float:
        if work.kind == "decode":
            return work.passes * rates.step(layers, work.rows)
        if work.kind == "prefill":
            return work.trunk * rates.prefill
        if work.kind == "train":
            moved = work.parameters * rates.update
            return work.trunk * rates.train + work.head * rates.head_train + work.passes * rates.train_pass + moved
        moved = work.parameters * rates.load
        return work.trunk * rates.forward + work.head * rates.head_forward + work.passes * rates.forward_pass + moved

    return of


def from_data_sheet(gpu: Gpu, layers: int, numbers: int, cache: int, *, bf16: bool) -> Seconds:
    """Seconds of a work on a GPU. `numbers` of the model are read once a decoding step, and `cache` bytes a place and row."""
    peak = gpu.bf16 if bf16 and gpu.bf16 else gpu.fp32
    each = 2 if bf16 and gpu.bf16 else 4

    def of(work: Work) -> float:
        starting = work.passes * (work.width or layers) * LAUNCHES[work.kind] * LAUNCH
        computing = work.flops / (peak * UTILISATION[work.kind])
        streaming = 0.0
        if work.kind == "decode":
            streaming = work.passes * (numbers * each + work.rows * work.places * cache) / (gpu.bandwidth * STREAMED)
        moving = work.parameters * STREAMS / (gpu.bandwidth * STREAMED)
        return max(starting, computing, streaming) + moving

    return of


def by_phase(
    step: Iterable[Work], evaluation: Iterable[Work], counts: Counts, saved: int, of: Seconds, disk: float
) -> dict[str, float]:
    """Seconds by phase of a run; `saved` bytes go into each checkpoint."""
    found: dict[str, float] = {}
    for works, times in ((step, counts.steps or 1), (evaluation, counts.evaluations)):
        for work in works:
            found[work.phase] = found.get(work.phase, 0.0) + times * of(work)
    found["checkpoint"] = counts.checkpoints * saved * disk
    return {phase: seconds for phase, seconds in found.items() if seconds > 0}
