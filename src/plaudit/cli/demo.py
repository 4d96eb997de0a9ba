"""`plaudit demo`: the whole loop on a small model, on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from plaudit.cli.show import AsJson, Place, Words, emit, placed


def demo(
    words: Words = None,
    quick: Annotated[bool, typer.Option("--quick", help="The same with less: minutes, and wider intervals.")] = False,
    model: Annotated[str | None, typer.Option(help="Folder, .gguf file or hub name; else the embedded SmolLM2.")] = None,
    seed: Annotated[int | None, typer.Option(help="Everything random follows from it.")] = None,
    place: Place = None,
    as_json: AsJson = False,
) -> None:
    """Walk the whole loop: prompts, SFT, simulated judges, reward model, PPO, evaluation, report."""
    options = placed(place)
    from plaudit.config import load
    from plaudit.pipeline.demo_config import DemoConfig

    given = {"quick": quick or None, "model": model, "seed": seed}
    options += [
        f"{name}={str(value).lower() if value is True else value}" for name, value in given.items() if value is not None
    ]
    resolved = load([DemoConfig], None, [*options, *(words or [])])
    from plaudit.pipeline.demo import run  # after the options are checked: it imports torch

    emit(run(resolved[DemoConfig]), as_json, "Demo")
