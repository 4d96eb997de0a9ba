"""What `plaudit evaluate` does: answers to prompts, tasks, comparisons, forgetting; one dict of results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le

from plaudit.config import config
from plaudit.evaluation import winrate
from plaudit.evaluation.against import Table, figures, judges_of, rewards_of
from plaudit.evaluation.arena import arena
from plaudit.evaluation.card.pairs import request
from plaudit.evaluation.diversity import diversity
from plaudit.evaluation.judging import PairJudgeConfig
from plaudit.evaluation.perturbing import PERTURBATIONS, perturbed_prompt
from plaudit.evaluation.refusal import toxicity
from plaudit.evaluation.subject import Subject, Told
from plaudit.evaluation.tasks.running import Outcome, outcome, regressions
from plaudit.evaluation.tasks.task import Task
from plaudit.rewards.mix import RewardConfig
from plaudit.rewards.sandbox.running import SandboxConfig
from plaudit.schema import JSON, Completion, Prompt, Sampling
from plaudit.stats import bootstrap_mean, pairs_for_win_rate

Progress = Callable[[str], AbstractContextManager[Told]]
"""Opens a bar with a title."""


@config
class MeasureConfig:
    """What is measured beside rewards."""

    toxicity_lexicon: str | None = None
    """A file with one toxic word or phrase a line; none takes the built-in list of insults."""
    tie_margin: Annotated[float, Ge(0)] = 0.0
    """Rewards that differ by no more than this are a tie."""
    perturb: tuple[str, ...] = ()
    """The first model is asked again in other spelling: typos, lower, shouted, spaced, polite."""
    expected_win_rate: Annotated[float, Ge(0.5), Le(1)] = 0.6
    """The win rate that the advice on the number of prompts is for."""

    def __post_init__(self) -> None:
        if bad := [name for name in self.perturb if name not in PERTURBATIONS]:
            raise ValueError(f"perturb names {bad[0]}; there are {', '.join(PERTURBATIONS)}")


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
    options: MeasureConfig,
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
    names: Sequence[str],
    prompts: Sequence[Prompt],
    tables: Sequence[Table],
    answers: Sequence[Sequence[Completion]],
    judge: PairJudgeConfig,
    options: MeasureConfig,
    bar: Progress,
) -> JSON:
    """Two models side by side, or ratings of more, by the judge where there is one, else by rewards; empty without either."""
    if judge.judge is None and not all(tables):
        return {}
    wins: dict[tuple[int, int], winrate.Rates] = {}
    judges: JSON = {}
    for i, j in itertools.combinations(range(len(names)), 2):
        if judge.judge is None:
            wins[i, j] = winrate.by_rewards(tables[i], tables[j], tolerance=options.tie_margin)
            continue
        with bar(f"judgements of {names[i]} and {names[j]}, both orders") as told:
            wins[i, j], judged = winrate.by_judge(judge, prompts, answers[i], answers[j], told)
        judges[f"{names[i]} and {names[j]}"] = winrate.judge_figures(judged)
    if len(names) > 2:
        return {**arena(names, wins), **({"judge": judges} if judges else {})}
    found = winrate.comparison(wins[0, 1], *answers)
    return {**found, **({"judge": next(iter(judges.values()))} if judges else {})}


def on_prompts(
    subjects: Sequence[Subject],
    prompts: Sequence[Prompt],
    n: int,
    sampling: Sampling,
    rewards: RewardConfig,
    judge: PairJudgeConfig,
    options: MeasureConfig,
    bar: Progress,
) -> tuple[JSON, list[JSON]]:
    """Figures of every model's answers and what compares them; and the answers as rows."""
    result: JSON = {"prompts": len(prompts), "samples": n}
    if len(subjects) > 1:
        result |= advice(len(prompts), options.expected_win_rate)
    judges, tables, answers, rows = judges_of(rewards), [], [], []
    for role, subject in zip(roles(len(subjects)), subjects, strict=True):
        found, table, said = answered(subject, prompts, n, sampling, rewards, judges, options, bar)
        result[role] = {"name": subject.name, **found}
        tables.append(table)
        answers.append(said)
        scores = [value for row in table for value in row] or [None] * len(said)
        for place, (one, score) in enumerate(zip(said, scores, strict=True)):
            asked = {"model": subject.name, "prompt": request(prompts[place // n]), "prompt_id": one.prompt_id}
            rows.append({**asked, "answer": one.text, "truncated": one.truncated, "score": score})
    for name in options.perturb:
        changed = [perturbed_prompt(prompt, name) for prompt in prompts]
        _, table, _ = answered(subjects[0], changed, n, sampling, rewards, judges, options, bar)
        result.setdefault("perturbed", {})[name] = reward_change(tables[0], table)
    if len(subjects) > 1:
        result |= compared([one.name for one in subjects], prompts, tables, answers, judge, options, bar)
    return result, rows


def reward_change(before: Table, after: Table) -> JSON:
    """Paired change of the mean reward, over the prompts whose answers all have one both times; empty without rewards."""
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if None not in (*a, *b)]
    if not pairs:
        return {}
    changes = [sum(x for x in b if x is not None) / len(b) - sum(x for x in a if x is not None) / len(a) for a, b in pairs]
    change, low_high = winrate.ends(bootstrap_mean(changes))
    return {"prompts": len(pairs), "reward_change": change, "reward_change_ci": low_high}


def roles(count: int) -> list[str]:
    """What the models are called in the result: model, and against where there is one other, else against_1, against_2 ..."""
    return ["model", *(["against"] if count == 2 else [f"against_{i}" for i in range(1, count)])]


def measured(
    tasks: Sequence[Task],
    subjects: Sequence[Subject],
    bar: Progress,
    perturb: Sequence[str] = (),
    sandbox: SandboxConfig | None = None,
) -> tuple[JSON, list[list[Outcome]]]:
    """Every task asked of every model; with two or more also what the first lost against the second."""
    found: list[list[Outcome]] = []
    changes: JSON = {}
    for subject in subjects:
        mine = []
        for task in tasks:
            with bar(f"{task.name} of {subject.name}") as told:
                mine.append(outcome(task, subject, told, sandbox))
        found.append(mine)
    for name in perturb:
        asked = [place for place, task in enumerate(tasks) if task.kind in ("answer", "choice", "refusal")]
        again = []
        for place in asked:
            with bar(f"{tasks[place].name}, {name}") as told:
                again.append(outcome(replace(tasks[place], perturbation=name), subjects[0], told))
        changes[name] = regressions(again, [found[0][place] for place in asked])
    result: JSON = {"tasks": {one.task: one.as_json() for one in found[0]}}
    if len(found) > 1:
        result["tasks_against"] = {one.task: one.as_json() for one in found[1]}
        result["regressions"] = regressions(found[0], found[1])
    if changes:
        result["tasks_perturbed"] = {
            name: {one["task"]: {k: v for k, v in one.items() if k not in ("task", "forgotten")} for one in rows}
            for name, rows in changes.items()
        }
    return result, found
