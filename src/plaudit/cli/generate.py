"""`plaudit generate MODEL`: answers to prompts, as text or as stored completions."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from plaudit.cli.show import AsJson, Words, progress
from plaudit.schema import Completion, Message, Prompt, Sampling, UserError, to_json

if TYPE_CHECKING:
    from plaudit.engines.torch_engine import TorchEngine


def generate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run's folder or id, a model folder, file or name.")],
    words: Words = None,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", "-p", help="What the user says; may be given often.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="A JSONL file with a `prompt` column.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers to each prompt.")] = 1,
    output: Annotated[
        Path | None, typer.Option(help="Write the completions, ids and log-probabilities included, as JSONL.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer prompts: `plaudit generate runs/demo -p "Where is my order?" temperature=0`."""
    from plaudit.config import load

    sampling = load([Sampling], None, words or [])[Sampling]
    asked = _asked(prompt or [], prompts)
    engine = engine_of(model)
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


def engine_of(name: str) -> TorchEngine:
    """An engine that speaks with the weights of a run or a model."""
    from plaudit.engines.torch_engine import TorchEngine
    from plaudit.models.load import load

    loaded = load(model_of(name))
    return TorchEngine.from_model(loaded.model, loaded.tokenizer, version=loaded.name)


def model_of(name: str) -> str:
    """The model that `name` means: that of a run named by folder or id (the last stage's of a demo), else `name` itself."""
    for folder in (Path(name), Path("runs") / name):
        for model in (folder / "model", folder / "ppo" / "model"):
            if model.is_dir():
                return str(model)
    return name


def _asked(spoken: list[str], file: Path | None) -> list[Prompt]:
    asked = [Prompt(messages=(Message("user", text),)) for text in spoken]
    if file is not None:
        from plaudit.data.readers import read_prompts

        asked += read_prompts(file)
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
            console.print(f"[dim]{len(answer.tokens)} tokens[/dim]{cut}\n")
