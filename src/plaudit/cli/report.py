"""`plaudit report RUN [RUN ...]`: runs on one offline page, and their cards in Markdown. It loads no model unless asked to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from plaudit.cli.show import progress
from plaudit.schema import Message, Prompt, UserError


def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run folders or ids; a demo's stages count as runs.")],
    output: Annotated[Path | None, typer.Option(help="Where to write the page; the first run's runs.html.")] = None,
    model_card: Annotated[Path | None, typer.Option(help="Write a model card of the last run, for the Hub.")] = None,
    dataset_card: Annotated[Path | None, typer.Option(help="Write a card of the last run's training data.")] = None,
    license_id: Annotated[str | None, typer.Option("--license", help="Its licence, as the Hub writes it: apache-2.0.")] = None,
    attribute: Annotated[
        str | None, typer.Option(metavar="REWARD_MODEL", help="Show what this reward model pays for, token by token.")
    ] = None,
    price: Annotated[float | None, typer.Option(help="What an hour of this machine costs, in any currency.")] = None,
) -> None:
    """Write one page about one or several runs: `plaudit report runs/dpo runs/ppo --output report.html`."""
    from plaudit.evaluation.report import write_page
    from plaudit.evaluation.runs.markdown import model_card as card_of
    from plaudit.evaluation.runs.page import runs_page
    from plaudit.evaluation.runs.reading import names_of, read_run, run_folders

    folders = run_folders(runs)
    found = [read_run(folder, name) for folder, name in zip(folders, names_of(folders), strict=True)]
    if attribute is not None:
        _attributed([one for run in found for one in run.traces], attribute)
    where = output or folders[0] / "runs.html"
    write_page(where, runs_page(found, price_per_hour=price))
    typer.echo(f"Wrote {where}")
    if model_card is not None:
        _write(model_card, card_of(found[-1], found[:-1], license_id=license_id))
    if dataset_card is not None:
        _write(dataset_card, _dataset(found[-1], license_id))


def _write(path: Path, text: str) -> None:
    from plaudit.evaluation.report import write_page

    write_page(path, text)
    typer.echo(f"Wrote {path}")


def _attributed(traces: list[dict[str, Any]], name: str) -> None:
    """Put what each token adds to the reward model's score into the traces."""
    import torch

    from plaudit.engines.opening import model_of
    from plaudit.evaluation.card.pairs import scorer_of
    from plaudit.evaluation.runs.attribution import STREAM, leave_out
    from plaudit.models.machine import device
    from plaudit.models.scorer import load_reward
    from plaudit.rewards.aspects import reward_of
    from plaudit.rewards.mix import RewardConfig

    if not traces:
        raise UserError("there is no trace to attribute: runs that sample answers (ppo, grpo ...) write trace.json")
    network = load_reward(Path(model_of(name)), dtype=torch.float32, device=device())
    score = scorer_of(reward_of(network, "reward_model", RewardConfig(), batch_size=16, policy_tokenizer=None))
    with progress("attribution") as told:
        for number, one in enumerate(traces, 1):
            tokens = [str(token) for token in one.get("tokens") or []]
            _, found = leave_out(Prompt(messages=(Message("user", str(one.get("prompt") or "")),)), tokens, score)
            one["streams"] = {**(one.get("streams") or {}), STREAM: found}
            told(number, len(traces))


def _dataset(run: Any, license_id: str | None) -> str:
    """The card of the data that a run was trained on."""
    from plaudit.data.check import check
    from plaudit.data.readers import dataset_digest, read
    from plaudit.evaluation.runs.markdown import dataset_card

    given = run.config.get("train_file")
    if not given:
        raise UserError(f"{run.folder} does not say which train_file it was trained on")
    wants = {"sft": "demonstrations", "reward": "rankings", "dpo": "rankings", "simpo": "rankings", "orpo": "rankings"}
    wants |= {"ipo": "rankings", "kto": "labels", "rating": "labels", "classify": "labels"}
    kind = wants.get(run.verb, "prompts")
    path = Path(str(given))
    if not path.exists() and not isinstance(given, list):
        raise UserError(f"the training data of {run.folder} is no longer at {given}; run this where the run was started")
    data = read(given, kind)  # type: ignore[arg-type]
    sources: dict[str, int] = {}
    for item in data.items:
        meta = getattr(getattr(item, "prompt", item), "meta", {})
        if (source := meta.get("source")) is not None:
            sources[str(source)] = sources.get(str(source), 0) + 1
    lines = [*data.lines(), *check(data.items).lines()]
    name = path.stem if isinstance(given, str) else json.dumps(given)[:60]
    return dataset_card(name, dataset_digest(data.items), kind, lines, len(data.items), license_id=license_id, sources=sources)
