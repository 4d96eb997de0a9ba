"""`plaudit estimate ALGORITHM CONFIG`: what a run will take, before it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit, file_and_words

if TYPE_CHECKING:
    from plaudit.training.estimate.parts import Estimate, Place

UNITS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def estimate(
    algorithm: Annotated[str, typer.Argument(help="A name from the list below, module:Class or file.py:Class.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="The file and options that `plaudit train` would get."),
    ] = None,
    answer_tokens: Annotated[
        int | None, typer.Option(help="Mean tokens of a sampled answer; without it every answer is as long as allowed.")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DOLLARS", help="Price of an hour: H100=2.10, here=0.08; may be repeated.")
    ] = None,
    probe: Annotated[bool, typer.Option("--probe/--no-probe", help="Measure this machine for a few seconds.")] = True,
    as_json: AsJson = False,
) -> None:
    """Memory, FLOPs, time and cost of a run before it starts, here and on common GPUs, and what would make it smaller.

    The model's weights are not read, and nothing is trained: `plaudit estimate ppo ppo.yaml use_peft=true`.
    """
    from plaudit.config import load
    from plaudit.training.estimate.estimate import estimate as ask
    from plaudit.training.estimate.telling import as_json as told
    from plaudit.training.run import sections, settled

    path, options = file_and_words(words or [])
    classes, defaults = sections(algorithm)
    resolved = settled(algorithm, load(classes, path, options, defaults), None)
    found = ask(algorithm, resolved, answer_tokens=answer_tokens, measure=probe, prices=price or [])
    if as_json:
        emit(told(found), True)
        return
    show(found)


def show(found: Estimate) -> None:
    """The estimate as tables."""
    from rich.console import Console

    from plaudit.training.estimate.gpus import PRICED, UTILISATION
    from plaudit.training.estimate.parts import MEMORY_RANGE

    out = Console(highlight=False)
    steps = "" if found.counts.steps is None else f", {found.counts.steps:,} steps"
    out.print(
        f"{found.verb} of {found.model}: {scaled(found.parameters)} parameters, {scaled(found.trained)} trained, {found.dtype}"
    )
    out.print(
        f"{found.tokens:,} tokens a step{steps}, {found.counts.evaluations} evaluations, {found.counts.checkpoints} checkpoints"
    )
    low, high = (found.memory.total * end for end in MEMORY_RANGE)
    memory = sorted(found.memory.parts.items(), key=lambda item: -item[1])
    out.print(
        _table(
            f"Memory at its peak ({found.memory.moment})",
            ["", ""],
            [[name, size(b)] for name, b in memory],
            [["all, beside some 0.5 GB of Python and libraries", f"{size(found.memory.total)} ({size(low)} to {size(high)})"]],
        )
    )
    flops = [[name, f"{scaled(count)}FLOP"] for name, count in sorted(found.flops.items(), key=lambda item: -item[1])]
    out.print(_table("Work", ["", ""], flops, [["all", f"{scaled(sum(found.flops.values()))}FLOP"]]))
    if found.here is not None:
        phases = [[name, span(seconds)] for name, seconds in sorted(found.here.seconds.items(), key=lambda item: -item[1])]
        total = [["all" if found.counts.steps else "one step", _between(found.here)]]
        out.print(
            _table(f"Time here ({found.here.name}, {found.rates['threads']:g} threads, measured)", ["", ""], phases, total)
        )
    places = [*([found.here] if found.here else []), *found.others]
    lines = [[p.name if not p.measured else "here", _fits(p), span(p.step), _between(p), _cost(p)] for p in places]
    out.print(_table("Machines", ["", "fits", "a step", "all of it", "cost"], lines, []))
    if found.hints:
        here = found.here
        hints = [
            [h.change, size(h.memory), "" if h.seconds is None or here is None else span(h.seconds), h.note]
            for h in found.hints
        ]
        out.print(_table("What would change it", ["option", "memory", "time here", ""], hints, []))
    shares = ", ".join(f"{kind} {share:.0%}" for kind, share in UTILISATION.items())
    notes = [
        *found.notes,
        f"GPUs: from data sheets, never measured; shares of the peak assumed: {shares}; prices assumed, {PRICED}",
    ]
    for note in notes:
        out.print(f"- {note}", markup=False)


def _table(title: str, heads: list[str], rows: list[list[str]], last: list[list[str]]) -> Any:
    from rich.table import Table

    table = Table(title=title, show_header=any(heads), box=None, title_justify="left", title_style="bold", header_style="bold")
    for head in heads:
        table.add_column(head)
    for row in rows:
        table.add_row(*row)
    for row in last:
        table.add_row(*row, style="bold")
    return table


def _between(place: Place) -> str:
    low, high = place.interval
    return f"{span(place.total)} ({span(place.total * low)} to {span(place.total * high)})"


def _cost(place: Place) -> str:
    if place.cost is None or place.price is None:
        return ""
    low, high = (place.cost * end for end in place.interval)
    return f"${place.cost:.2g} (${low:.2g} to ${high:.2g}) at ${place.price:.2f}/h"


def _fits(place: Place) -> str:
    if place.fits is None:
        return ""
    return f"{'yes' if place.fits else 'no'}, of {size(place.memory_bytes or 0)}"


def scaled(value: float) -> str:
    """A number with three digits and its thousands as a letter: 135 M."""
    for letter, unit in UNITS:
        if value >= unit:
            return f"{value / unit:.3g} {letter}"
    return f"{value:.3g} "


def size(count: float) -> str:
    """Bytes for a person."""
    for unit, each in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= each:
            return f"{count / each:.3g} {unit}"
    return f"{count:.0f} B"


def span(seconds: float) -> str:
    """A length of time: 0.21 s, 42 s, 7.5 min, 3.2 h, 2.1 d."""
    for unit, each in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * each:
            return f"{seconds / each:.3g} {unit}"
    return f"{seconds:.3g} s"
