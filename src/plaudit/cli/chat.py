"""`plaudit chat RUN`: talk to a model in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from plaudit.cli.show import Words
from plaudit.schema import Message, Prompt, Sampling, UserError

if TYPE_CHECKING:
    from plaudit.engines.base import Engine


def chat(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, a model folder, file or name, or URL#MODEL.")],
    words: Words = None,
    system: Annotated[str | None, typer.Option(help="A system message to begin with.")] = None,
) -> None:
    """Talk to a run's model: `plaudit chat RUN temperature=0.7`. /new begins again; leave with Ctrl-D or /quit."""
    from rich.console import Console

    from plaudit.config import load
    from plaudit.engines.opening import open_engine

    sampling = load([Sampling], None, words or [], {"max_new_tokens": 256})[Sampling]
    engine = open_engine(model)
    console = Console(highlight=False)
    console.print(f"{engine.version} · /new begins again, Ctrl-D or /quit leaves", style="dim", markup=False)
    for text in talk(engine, spoken(), sampling, (Message("system", system),) if system else ()):
        console.print(text, markup=False)
        console.print()


def spoken(ask: Callable[[str], str] = input) -> Iterator[str]:
    """What the user types, line by line, until the end of input or /quit; empty lines do not count."""
    prompt = "> " if sys.stdin.isatty() else ""
    while True:
        try:
            line = ask(prompt).strip()
        except EOFError:
            return
        if line == "/quit":
            return
        if line:
            yield line


def talk(engine: Engine, lines: Iterator[str], sampling: Sampling, opening: tuple[Message, ...] = ()) -> Iterator[str]:
    """The model's answer to each line, the dialogue so far in mind; `/new` forgets it. Each turn has a seed of its own.

    A dialogue that no longer fits the model is said so, and the last line is taken back.
    """
    dialogue = opening
    for turn, line in enumerate(lines):
        if line == "/new":
            dialogue = opening
            yield "(a new dialogue)"
            continue
        asked = (*dialogue, Message("user", line))
        try:
            (answer,) = engine.generate([Prompt(messages=asked)], 1, replace(sampling, seed=sampling.seed + turn))
        except UserError as problem:
            yield f"({problem})"
            continue
        dialogue = (*asked, Message("assistant", answer.text.strip()))
        yield answer.text.strip() + (" …" if answer.truncated else "")
