"""`plaudit card REWARD_MODEL PAIRS`: can this reward model be trusted? Exit code 1 where its gate is shut."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.show import AsJson, Words, emit, progress

STYLE = {"ok": "green", "watch": "yellow", "act": "red", "unknown": "dim"}


def card(
    reward_model: Annotated[str, typer.Argument(metavar="RUN|REWARD_MODEL", help="A `train reward` run, or its model folder.")],
    pairs: Annotated[Path, typer.Argument(help="Preference pairs that it was not trained on, in any layout of docs/data.md.")],
    words: Words = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="Another reward model to compare with: a member of an ensemble, another half; often."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the card as an offline HTML page.")] = None,
    seed: Annotated[int, typer.Option(help="Of folds, clusters and probes.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a reward model on held-out pairs, and stop (exit code 1) where it should not be trained against."""
    import torch

    from plaudit.config import load
    from plaudit.data.options import ReadConfig
    from plaudit.data.readers import read
    from plaudit.engines.opening import model_of
    from plaudit.evaluation.card.gate import CardConfig
    from plaudit.evaluation.card.making import make_card
    from plaudit.evaluation.card.page import card_page
    from plaudit.evaluation.card.pairs import scorer_of
    from plaudit.evaluation.packages import needed
    from plaudit.evaluation.report import write_page
    from plaudit.models.machine import device
    from plaudit.models.scorer import load_rewards
    from plaudit.rewards.aspects import reward_of
    from plaudit.rewards.mix import RewardConfig

    resolved = load([CardConfig, RewardConfig, ReadConfig], None, words or [])
    reading = resolved[ReadConfig]
    needed("sklearn", "the card")
    names = [reward_model, *(also or [])]
    data = read(reading.part(pairs), "rankings", **reading.keywords())
    for line in data.lines():
        typer.echo(line, err=True)
    networks = load_rewards([Path(model_of(name)) for name in names], dtype=torch.float32, device=device())
    scorers = [
        scorer_of(reward_of(network, name, resolved[RewardConfig], batch_size=16, policy_tokenizer=None))
        for network, name in zip(networks, names, strict=True)
    ]
    with progress("the card") as told:
        made = make_card(
            reward_model,
            str(pairs),
            data.items,
            scorers[0],
            resolved[CardConfig],
            dict(zip(names[1:], scorers[1:], strict=True)),
            seed=seed,
            told=told,
        )
    if output is not None:
        write_page(output, card_page(made))
    if as_json:
        emit(made.as_json(), True)
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table("", "rule", "found", box=None, header_style="bold")
        for reason in made.reasons:
            table.add_row(f"[{STYLE[reason.state]}]{reason.state}[/]", escape(reason.rule), escape(reason.says))
        console = Console(highlight=False)
        console.print(table)
        console.print(f"The gate is [{'red' if made.shut else 'green'}]{'shut' if made.shut else 'open'}[/].")
        if output is not None:
            console.print(f"The whole card: {output}", markup=False)
    if made.shut:
        raise typer.Exit(1)
