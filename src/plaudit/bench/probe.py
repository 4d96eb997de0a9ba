"""The machine's ceilings, measured: matrix products at a step's own shapes on all cores, and memory bandwidth.

Where there is another way than torch's to multiply (models/products.py), the faster one counts.

Run as a child process: `python -m plaudit.bench.probe REQUEST RESULT`. The request is {"shape", "phases": [[kind, rows], ...]}.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from plaudit.models.flops import Shape
from plaudit.models.machine import device, fast_bf16
from plaudit.models.products import Products, Tiled, tiled

Tensor = torch.Tensor
SECONDS = 1.5
"""At least so long is a shape measured, and three times; the fastest time counts, as a ceiling should."""
STREAM = 256 * 1024**2
"""Bytes that the bandwidth is measured on: several times the last cache."""


def ways(dtype: torch.dtype, where: torch.device) -> list[Products]:
    """By torch, and by our own kernel where there is one."""
    own = tiled() if where.type == "cpu" and dtype == torch.bfloat16 else None
    return [Products()] if own is None else [Products(), own]


def products(
    shape: Shape, kind: str, rows: int, dtype: torch.dtype, where: torch.device, by: Products
) -> tuple[Callable[[], None], int]:
    """(what to time, its operations): the matrix products of all layers and the output head on `rows` rows.

    Every layer has weights of its own, so that they come from memory as they do in the model. forward: x W, of weights laid
    out before where `by` can do that. lora: also the gradient of x. train: also that of W.
    """
    sizes = [*shape.sizes * shape.layers, (shape.width, shape.vocabulary)]
    weights = [torch.randn(b, a, dtype=torch.float32, device=where).to(dtype) for a, b in sizes]
    inputs = {a: torch.randn(rows, a, device=where).to(dtype) for a, _ in sizes}
    outputs = {b: torch.randn(rows, b, device=where).to(dtype) for _, b in sizes}
    times = {"forward": 1, "lora": 2, "train": 3}[kind]
    amount = times * sum(2 * rows * a * b for a, b in sizes)
    if kind == "forward" and isinstance(by, Tiled):
        laid = [by.lay(weight) for weight in weights]

        def read() -> None:
            for weight in laid:
                by.linear(inputs[weight.inputs], weight)

        return read, amount

    def run() -> None:
        for weight in weights:
            x, y = inputs[weight.shape[1]], outputs[weight.shape[0]]
            by.total((x, weight.T))
            if kind != "forward":
                by.total((y, weight))
            if kind == "train":
                by.total((y.T, x))

    return run, amount


@torch.inference_mode()
def rate(run: Callable[[], None], amount: float, where: torch.device, seconds: float = SECONDS) -> float:
    """`amount` over the fastest time of `run`, per second."""
    run()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        _wait(where)
        clock = time.perf_counter()
        run()
        _wait(where)
        times.append(time.perf_counter() - clock)
    return amount / min(times)


def _wait(where: torch.device) -> None:
    if where.type == "cuda":
        torch.cuda.synchronize()


def bandwidth(where: torch.device, size: int = STREAM, seconds: float = SECONDS) -> float:
    """Bytes per second that are read from memory: the sum of a long vector."""
    long = torch.ones(size // 4, device=where)

    def run() -> None:
        long.sum()

    return rate(run, size, where, seconds)


def measure(shape: Shape, wanted: list[tuple[str, int]], seconds: float = SECONDS) -> dict[str, Any]:
    """The machine and its ceilings: flops[dtype][kind@rows], operations per second. bf16 only where it is fast."""
    where = device()
    dtypes = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if fast_bf16(where) else {})
    flops: dict[str, dict[str, float]] = {}
    for name, dtype in dtypes.items():
        flops[name] = {}
        for kind, rows in wanted:
            flops[name][f"{kind}@{rows}"] = max(
                rate(*products(shape, kind, rows, dtype, where, by), where, seconds) for by in ways(dtype, where)
            )
    return {
        "device": torch.cuda.get_device_name() if where.type == "cuda" else cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "flops_per_s": flops,
        "bytes_per_s": bandwidth(where, seconds=seconds),
    }


def cpu_name() -> str:
    """The processor's name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    phases = [(str(kind), int(rows)) for kind, rows in request["phases"]]
    found = measure(Shape(**request["shape"]), phases, float(request["seconds"]))
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
