"""`plaudit data inspect|convert|split|check|quality`: what a file holds, another layout, its parts, what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.cli.augment import augment
from plaudit.cli.quality import quality
from plaudit.cli.show import AsJson, emit, progress
from plaudit.schema import UserError

if TYPE_CHECKING:
    from plaudit.data.readers import Data

app = typer.Typer(
    help="Look at data files, convert, split, check and augment them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(no_args_is_help=True)(augment)
app.command(no_args_is_help=True)(quality)
File = Annotated[str, typer.Argument(metavar="FILE", help="A data file, a folder, or a pattern in quotes.")]
Read = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="How to read: dataset_format, dataset_columns.OURS=THEIRS, dataset, dataset_split."
    ),
]
Model = Annotated[str | None, typer.Option(metavar="RUN|MODEL", help="Count in tokens of this model.")]


@app.command(no_args_is_help=True)
def inspect(file: File, words: Read = None, model: Model = None, as_json: AsJson = False) -> None:
    """Say what a file holds: layout, type, columns, lengths, languages, and which algorithms it serves."""
    from plaudit.data.inspect import inspect as look

    given, options = _reading(file, words)
    tokenizer = _tokenizer(model)
    with progress("items compared") as told:
        found = look(given, tokenizer, told=told, **options)
    if as_json:
        emit(found, True)
        return
    _show_inspected(found)


@app.command(no_args_is_help=True)
def convert(
    file: File,
    to: Annotated[
        str,
        typer.Option(
            help="sft, messages, sharegpt, alpaca, preference, sharegpt-preference, alpaca-preference, "
            "hh_rlhf, ranking, judge, judge-classes, kto, stepwise or prompts."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write: .jsonl, .json, .csv, .tsv or .parquet.")],
    words: Read = None,
    as_json: AsJson = False,
) -> None:
    """Write a file in another layout: `plaudit data convert trees.jsonl --to preference --out pairs.jsonl`."""
    from plaudit.data.convert import TARGETS, pairs_of_labels, rows_as
    from plaudit.data.inspect import natural
    from plaudit.data.readers import read, write_rows

    if to not in TARGETS:
        raise UserError(f"--to {to}: is not a layout; there are {', '.join(TARGETS)}")
    given, options = _reading(file, words)
    wants = TARGETS[to][0]
    found = natural(given, **options)
    rated = wants == "rankings" and found is not None and found[0] == "labels"  # ratings say which answer is better
    data = read(given, "labels" if rated else wants, **options)
    rows = list(rows_as(to, pairs_of_labels(data.items) if rated else data.items))
    _write(out, rows, write_rows)
    result = {"out": str(out), "rows": len(rows), "rows_read": data.rows, "notes": dict(data.tally)}
    if data.classes:
        result["classes"] = list(data.classes)
    if data.refused:
        result |= {"refused_rows": len(data.refused), "refused": data.refused[:3]}
    emit_safely(result, as_json)


@app.command(no_args_is_help=True)
def split(
    file: File,
    out: Annotated[Path, typer.Option(help="Folder for train.jsonl, validation.jsonl and test.jsonl.")],
    words: Read = None,
    fractions: Annotated[str, typer.Option(help="Shares of the prompts for train, validation and test.")] = "0.8,0.1,0.1",
    seed: Annotated[int, typer.Option(help="Where a prompt goes follows from its text and this number.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Split a file by prompt, so that no prompt is on two sides: `plaudit data split all.jsonl --out parts`."""
    from plaudit.data.convert import natural_row
    from plaudit.data.readers import write_jsonl
    from plaudit.data.split import split_by_prompt

    given, options = _reading(file, words)
    data = _naturally(given, options)
    parts = split_by_prompt(data.items, fractions=_fractions(fractions), seed=seed)
    result: dict[str, Any] = {}
    for name, items in parts.named().items():
        if items:
            _write(out / f"{name}.jsonl", [natural_row(item) for item in items], write_jsonl)
            result[name] = {"file": str(out / f"{name}.jsonl"), "rows": len(items)}
    emit_safely({**result, "notes": dict(data.tally)}, as_json)


@app.command(no_args_is_help=True)
def check(
    words: Annotated[
        list[str], typer.Argument(metavar="FILE... [KEY=VALUE]...", help="One file, or several: leakage between them.")
    ],
    model: Annotated[
        str | None, typer.Option(metavar="RUN|MODEL", help="Lengths in its tokens, and the perplexity of the answers under it.")
    ] = None,
    rows: Annotated[
        int, typer.Option(min=2, help="Answers of each file that are scored for the perplexity, drawn at random.")
    ] = 100,
    as_json: AsJson = False,
) -> None:
    """Look for duplicates, leakage, contradictions, odd lengths and languages, and how far the text lies from a model."""
    from plaudit.data.check import check as look

    files = [word for word in words if "=" not in word or Path(word).exists()]
    if not files:
        raise UserError("plaudit data check needs a file to look at")
    double = next((name for name in files if files.count(name) > 1), None)
    if double:
        raise UserError(f"{double} is given twice; leakage is looked for between different files")
    overrides = [word for word in words if word not in files]
    found = {name: _naturally(*_reading(name, [*overrides, "skip_refused_rows=true"])) for name in files}
    items = {name: data.items for name, data in found.items()}
    loaded = _loaded(model)
    with progress("items compared") as told:
        report = look(items, loaded and loaded.tokenizer, closely=True, told=told)
    result = report.to_json() | {"clean": report.clean}
    refused = {name: data.refused for name, data in found.items() if data.refused}
    result["refused"] = {name: {"rows": len(reasons), "first": reasons[:3]} for name, reasons in refused.items()}
    lines = [
        *report.lines(),
        *(f"{len(reasons):,} rows of {name} cannot be read; the first: {reasons[0]}" for name, reasons in refused.items()),
    ]
    if loaded is not None:
        from plaudit.evaluation.perplexity import distance

        result["perplexity"] = {}
        for name, listed in items.items():
            with progress(f"answers of {Path(name).name}") as told:
                apart = distance(loaded, listed, rows=rows, told=told)
            if apart is None:
                lines.append(f"{name}: has no answers, so no perplexity")
                continue
            result["perplexity"][name] = apart.to_json()
            lines += [f"{name}: {line}" for line in apart.lines()]
    if as_json:
        emit(result, True)
        return
    from plaudit.data.inspect import safely

    for line in lines:
        typer.echo(safely(line, 400))


def _reading(file: str, words: Sequence[str] | None) -> tuple[Any, dict[str, Any]]:
    """What `read` takes for a file and the options in words."""
    from plaudit.config import load
    from plaudit.data.options import ReadConfig

    options = load([ReadConfig], None, list(words or []))[ReadConfig]
    return options.part(file), options.keywords()


def _naturally(given: Any, options: dict[str, Any]) -> Data:
    """A file read as what it is. UserError where its type is not known, with the columns that are there."""
    from plaudit.data.inspect import natural
    from plaudit.data.readers import read

    found = natural(given, **options)
    return read(given, found[0] if found else "demonstrations", **options)


def _tokenizer(model: str | None) -> Any:
    loaded = _loaded(model)
    return loaded and loaded.tokenizer


def _loaded(model: str | None) -> Any:
    if model is None:
        return None
    from plaudit.engines.opening import model_of
    from plaudit.models.load import load

    return load(model_of(model))


def emit_safely(result: dict[str, Any], as_json: bool) -> None:
    """As `emit`; on a terminal, words from the file can neither steer it nor be taken for mark-up."""
    from rich.markup import escape

    from plaudit.data.inspect import safely

    def shown(value: Any) -> Any:
        if isinstance(value, dict):
            return {escape(safely(name)): shown(item) for name, item in value.items()}
        if isinstance(value, list):
            return [shown(item) for item in value]
        return escape(safely(value)) if isinstance(value, str) else value

    emit(result if as_json else shown(result), as_json)


def _fractions(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--fractions {text}: must be three numbers such as 0.8,0.1,0.1") from None


def _write(out: Path, rows: list[dict[str, Any]], write: Any) -> None:
    """Beside, then moved into place, so that a file that is there is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    half = out.with_name(f".part-{out.name}")
    try:
        write(half, rows)
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)


def _show_inspected(found: dict[str, Any]) -> None:
    """The figures as lines; texts of the file cannot steer the terminal."""
    from plaudit.data.inspect import safely

    typer.echo(f"{safely(', '.join(found['files']))}: {found['rows']:,} rows")
    for name, column in found["columns"].items():
        typer.echo(f"  {safely(name, 40)}: {column['type']}, in {column['rows']:,} rows")
    if found["type"] is None:
        typer.echo("type: none that is known; name the columns with dataset_columns, as in dataset_columns.prompt=question")
        return
    typer.echo(f"layout: {found['layout']}; type: {found['type']}, read as {', '.join(found['read_as'])}")
    typer.echo(f"serves: {', '.join(found['serves']) or 'no algorithm that is installed'}")
    counted = next(name for name in found if name in found["read_as"])
    typer.echo(f"{found[counted]:,} {counted}, {found['different_prompts']:,} different prompts")
    for what, count in found["notes"].items():
        typer.echo(f"{count:,} {what}")
    if found["refused_rows"]:
        typer.echo(f"{found['refused_rows']:,} rows cannot be read; the first: {safely(found['refused'][0])}")
    if found["classes"]:
        typer.echo(f"classes: {safely(', '.join(found['classes']))}")
    for kind, lengths in found["lengths"].items():
        figures = " / ".join(f"{lengths[name]:g}" for name in ("min", "median", "p95", "max"))
        typer.echo(f"{kind} length: {figures} {lengths['unit']} (min / median / p95 / max)")
    total = sum(found["languages"].values())
    shares = [f"{name} {count / total:.0%}" for name, count in list(found["languages"].items())[:5]]
    typer.echo(f"language (a guess; und: undetermined): {', '.join(shares)}")
    for row in found["examples"]:
        typer.echo("")
        for name, value in row.items():
            typer.echo(f"  {safely(name, 40)}: {safely(value)}")
