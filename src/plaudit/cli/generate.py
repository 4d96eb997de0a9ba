"""`plaudit generate MODEL`: answers to prompts, as text or as stored completions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plaudit.cli.show import AsJson, Words, progress, prompts_of
from plaudit.schema import Completion, Message, Prompt, Sampling, UserError, to_json

if TYPE_CHECKING:
    from plaudit.data.options import ReadConfig


def generate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run, a model folder, file or name, or URL#MODEL.")],
    words: Words = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="What the user says; may be given often.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="A file with prompts, in any layout of docs/data.md.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers to each prompt.")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="Write the completions, ids and log-probabilities included, as JSONL.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer prompts: `plaudit generate runs/demo -p "Where is my order?" temperature=0`."""
    from plaudit.config import load
    from plaudit.data.options import ReadConfig
    from plaudit.engines.opening import open_engine

    resolved = load([Sampling, ReadConfig], None, words or [])
    sampling = resolved[Sampling]
    asked = _asked(prompt or [], prompts, resolved[ReadConfig])
    engine = open_engine(model)
    with progress("answers") as told:
        answers = engine.generate(asked, n, sampling, told)
    if output:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("".join(json.dumps(to_json(a), ensure_ascii=False) + "\n" for a in answers), encoding="utf-8")
    if as_json:
        json.dump([to_json(a) for a in answers], sys.stdout, ensure_ascii=False)
        print()
    elif not output:
        _print(asked, answers)


def _asked(spoken: list[str], file: Path | None, reading: ReadConfig) -> list[Prompt]:
    asked = [Prompt(messages=(Message("user", text),)) for text in spoken]
    if file is not None:
        asked += prompts_of(file, reading)
    if not asked:
        raise UserError("nothing to answer: give --prompt TEXT or --prompts FILE")
    return asked


def _print(asked: list[Prompt], answers: list[Completion]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    each = len(answers) // len(asked)
    for number, prompt in enumerate(asked):
        console.print(prompt.text or prompt.messages[-1].content, style="bold", markup=False)
        for answer in answers[number * each : (number + 1) * each]:
            cut = " [dim](cut off at max_new_tokens)[/dim]" if answer.truncated else ""
            console.print(answer.text.strip(), markup=False)
            size = f"[dim]{len(answer.tokens)} tokens[/dim]" if answer.tokens else ""  # a server may send text only
            console.print(f"{size}{cut}\n")
