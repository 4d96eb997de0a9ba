"""`plaudit evaluate MODEL PROMPTS`: answers to held-out prompts in figures, alone or against another model's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.cli.generate import engine_of
from plaudit.cli.progress import bar
from plaudit.cli.show import AsJson, Words, emit
from plaudit.schema import Completion, Prompt, Sampling, UserError

if TYPE_CHECKING:
    from plaudit.stats import Interval


def evaluate(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run's folder or id, a model folder, file or name.")],
    prompts: Annotated[Path, typer.Argument(help="A JSONL file with a `prompt` column, held out from training.")],
    words: Words = None,
    against: Annotated[str | None, typer.Option(metavar="RUN|MODEL", help="Answer with this one too, and compare.")] = None,
    reward: Annotated[
        str | None, typer.Option(help="What scores an answer: a name, module:function or file.py:function.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Answers to each prompt.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Evaluate a model: `plaudit evaluate runs/demo held-out.jsonl --against tiny --reward rules.py:polite temperature=0`."""
    from plaudit.config import load
    from plaudit.data.readers import read_prompts
    from plaudit.registry import find

    sampling = load([Sampling], None, words or [])[Sampling]
    function = find("rewards", reward) if reward else None
    asked = read_prompts(prompts)
    result: dict[str, Any] = {"prompts": len(asked), "samples": n}
    tables = []
    for role, name in {"model": model, "against": against}.items():
        if name is None:
            continue
        with bar(f"answers of {name}") as progress:
            answers = engine_of(name).generate(asked, n, sampling, progress)
        found, scores = figures(asked, answers, function, reward or "")
        result[role] = {"name": name, **found}
        tables.append(scores)
    if function and against:
        from plaudit.stats import paired_bootstrap

        result["win_rate"], result["win_rate_ci"] = _pair(paired_bootstrap(*tables))
    emit(result, as_json, "Evaluation")


def figures(
    asked: Sequence[Prompt], answers: Sequence[Completion], function: Any, name: str
) -> tuple[dict[str, Any], list[list[float]]]:
    """The figures of one model's answers, and its scores as [prompts][samples] (empty without a reward function)."""
    from plaudit.evaluation.metrics import describe
    from plaudit.stats import bootstrap_mean

    found: dict[str, Any] = dict(describe(answers))
    if function is None:
        return found, []
    flat, n = score(function, name, asked, answers), len(answers) // len(asked)
    scores = [flat[start : start + n] for start in range(0, len(flat), n)]
    found["reward"], found["reward_ci"] = _pair(bootstrap_mean(scores))
    return found, scores


def score(function: Any, name: str, asked: Sequence[Prompt], answers: Sequence[Completion]) -> list[float]:
    """One finite number for each answer, prompt-major, by a function with TRL's signature; UserError for all else."""
    each = [asked[place * len(asked) // len(answers)] for place in range(len(answers))]
    columns = {key: [prompt.meta.get(key) for prompt in each] for key in dict.fromkeys(k for p in asked for k in p.meta)}
    texts = [
        a.text if p.text is not None else [{"role": "assistant", "content": a.text}] for p, a in zip(each, answers, strict=True)
    ]
    ids = [list(answer.tokens) for answer in answers]
    try:
        given = function(prompts=[_written(p) for p in each], completions=texts, completion_ids=ids, **columns)
    except Exception as error:
        raise UserError(f"the reward {name} raised {type(error).__name__}: {error}") from error
    try:
        scores = [float(value) for value in given]
    except (TypeError, ValueError):
        raise UserError(f"the reward {name} must return a list of numbers, one for each completion") from None
    if len(scores) != len(answers) or not all(map(math.isfinite, scores)):
        raise UserError(f"the reward {name} returned {len(scores)} numbers for {len(answers)} completions, or some not finite")
    return scores


def _written(prompt: Prompt) -> str | list[dict[str, str]]:
    if prompt.text is not None:
        return prompt.text
    return [{"role": message.role, "content": message.content} for message in prompt.messages]


def _pair(interval: Interval) -> tuple[float, list[float]]:
    return interval.mean, [interval.low, interval.high]
