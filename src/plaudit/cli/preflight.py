"""`plaudit preflight MODEL PROMPTS`: how far may a reward be optimised? Asked before RL, with samples of the model as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.show import AsJson, Words, emit, figure, progress, prompts_of
from plaudit.schema import UserError


def preflight(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="The model that RL would start from.")],
    prompts: Annotated[Path, typer.Argument(help="A file with prompts; 200 tell a turn from noise.")],
    words: Words = None,
    n: Annotated[int, typer.Option("-n", min=4, help="Answers to each prompt.")] = 32,
    output: Annotated[Path | None, typer.Option(help="Write the curves as an offline HTML page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Find where a reward stops helping: `plaudit preflight RUN PROMPTS reward_model_path=RM independent_reward_funcs=[F]`."""
    from plaudit.config import load
    from plaudit.data.options import ReadConfig
    from plaudit.evaluation.against import judges_of, rewards_of
    from plaudit.evaluation.preflight import PreflightConfig, table_of
    from plaudit.evaluation.preflight import preflight as flown
    from plaudit.evaluation.preflight_page import preflight_page
    from plaudit.evaluation.report import write_page
    from plaudit.evaluation.subject import Subject
    from plaudit.rewards.mix import RewardConfig
    from plaudit.schema import Sampling

    resolved = load([Sampling, RewardConfig, PreflightConfig, ReadConfig], None, words or [])
    options, independent = resolved[RewardConfig], resolved[PreflightConfig]
    if not (options.reward_funcs or options.reward_models):
        raise UserError("preflight needs the reward that RL would optimise: set reward_funcs, reward_model_path, or both")
    if resolved[Sampling].temperature == 0:
        raise UserError("preflight compares samples, and temperature=0 gives the same one each time; leave it at 1")
    asked = prompts_of(prompts, resolved[ReadConfig])
    subject = Subject(model)
    with progress("answers") as told:
        answers = subject.answers(asked, n, resolved[Sampling], told)
    repeated = [prompt for prompt in asked for _ in range(n)]
    tables = []
    for config in [options, independent.rewards] if independent.given else [options]:
        rewards = rewards_of(config, judges_of(config), subject.engine.tokenizer)
        assert rewards is not None
        scored = [one.reward for one in rewards.score(repeated, answers)]
        tables.append([scored[i : i + n] for i in range(0, len(scored), n)])
    whole = [p for p in range(len(asked)) if all(None not in table[p] for table in tables)]
    proxy, _ = table_of([tables[0][p] for p in whole], "a reward")
    other = table_of([tables[1][p] for p in whole], "an independent score")[0] if len(tables) > 1 else None
    result = {**flown(proxy, other), "prompts_without_scores": len(asked) - len(whole)}
    if output is not None:
        write_page(output, preflight_page(model, str(prompts), result))
    if as_json:
        emit(result, True)
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("best of", "KL, nats", "reward", "95 %", "independent", "95 %", box=None, header_style="bold")
        for row in result["best_of_n"]:
            names = ("n", "kl", "reward", "reward_ci", "independent", "independent_ci")
            table.add_row(*(figure(row.get(name)) for name in names))
        console = Console(highlight=False)
        console.print(table)
        console.print(result["advice"]["says"], markup=False)
        for name, value in result["advice"]["config"].items():
            console.print(f"  {name}={value}", markup=False)
