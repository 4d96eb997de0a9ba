"""What `plaudit evaluate` does: answers to prompts, tasks, comparisons, forgetting; one dict of results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from plaudit.config import config
from plaudit.evaluation import winrate
from plaudit.evaluation.against import Table, figures, rewards_of
from plaudit.evaluation.diversity import diversity
from plaudit.evaluation.judging import JudgeConfig
from plaudit.evaluation.refusal import toxicity
from plaudit.evaluation.subject import Subject, Told
from plaudit.evaluation.tasks.running import Outcome, outcome, regressions
from plaudit.evaluation.tasks.task import Task
from plaudit.rewards.mix import RewardConfig
from plaudit.schema import JSON, Completion, Prompt, Sampling
from plaudit.stats import pairs_for_win_rate

Progress = Callable[[str], AbstractContextManager[Told]]
"""Opens a bar with a title."""


@config
class EvaluateConfig:
    """What is measured beside rewards."""

    toxicity_lexicon: str | None = None
    """A file with one toxic word or phrase a line; none takes the built-in list of insults."""
    tie_margin: Annotated[float, Ge(0)] = 0.0
    """Rewards that differ by no more than this are a tie."""
    expected_win_rate: Annotated[float, Ge(0.5), Le(1)] = 0.6
    """The win rate that the advice on the number of prompts is for."""


def advice(prompts: int, expected: float) -> JSON:
    """Before a comparison: how many prompts a win rate like the expected one needs (80 % power, 5 % two-sided)."""
    if expected == 0.5:
        return {"prompts_needed": None}
    needed = pairs_for_win_rate(expected)
    return {"prompts_needed": needed, "enough_prompts": prompts >= needed}


def answered(
    subject: Subject,
    prompts: Sequence[Prompt],
    n: int,
    sampling: Sampling,
    rewards: RewardConfig,
    judges: Sequence[Any],
    options: EvaluateConfig,
    bar: Progress,
) -> tuple[JSON, Table, list[Completion]]:
    """The figures of a model's answers, its rewards by prompt, and the answers."""
    from importlib.util import find_spec

    with bar(f"answers of {subject.name}") as told:
        answers = subject.answers(prompts, n, sampling, told)
    found, table = figures(prompts, answers, rewards_of(rewards, judges, subject.engine.tokenizer))
    # self-BLEU is the only figure here that needs a package of its own.
    found |= diversity(answers, n, bleu=find_spec("sacrebleu") is not None)
    found |= toxicity([one.text for one in answers], Path(options.toxicity_lexicon) if options.toxicity_lexicon else None)
    return found, table, answers


def compared(
    prompts: Sequence[Prompt],
    tables: Sequence[Table],
    answers: Sequence[Sequence[Completion]],
    judge: JudgeConfig,
    options: EvaluateConfig,
    bar: Progress,
) -> JSON:
    """The comparison of two models by the judge where there is one, else by rewards; empty without either."""
    one, two = answers
    if judge.judge is not None:
        with bar("judgements, both orders") as told:
            wins, judged = winrate.by_judge(judge, prompts, one, two, told)
        return {**winrate.comparison(wins, one, two), "judge": winrate.judge_figures(judged)}
    if all(tables):
        return winrate.comparison(winrate.by_rewards(*tables, tolerance=options.tie_margin), one, two)
    return {}


def measured(tasks: Sequence[Task], subjects: Sequence[Subject], bar: Progress) -> tuple[JSON, list[list[Outcome]]]:
    """Every task asked of every model; with two models also what the first lost against the second."""
    found: list[list[Outcome]] = []
    for subject in subjects:
        mine = []
        for task in tasks:
            with bar(f"{task.name} of {subject.name}") as told:
                mine.append(outcome(task, subject, told))
        found.append(mine)
    result: JSON = {"tasks": {one.task: one.as_json() for one in found[0]}}
    if len(found) > 1:
        result["tasks_against"] = {one.task: one.as_json() for one in found[1]}
        result["regressions"] = regressions(*found)
    return result, found
