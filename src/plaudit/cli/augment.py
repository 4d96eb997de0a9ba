"""`plaudit data augment`: more rows out of those that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from plaudit.cli.show import AsJson, progress
from plaudit.schema import Sampling, UserError


def augment(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A data file, a folder, or a pattern in quotes.")],
    method: Annotated[Literal["paraphrase", "back_translation", "swap_sides"], typer.Option(help="How rows are written anew.")],
    out: Annotated[Path, typer.Option(help="The file to write, with the new rows alone: .jsonl, .json, .csv or .parquet.")],
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Options; `plaudit config augment` lists them.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="RUN|MODEL", help="Who rewrites: a run, a model folder, file or name, or URL#MODEL.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write new rows: `plaudit data augment rows.jsonl --method paraphrase --model runs/sft --out more.jsonl`.

    Killed anywhere, the same command goes on. Train on both files: train_file=[rows.jsonl, more.jsonl].
    """
    from plaudit.cli.data import emit_safely
    from plaudit.config import load
    from plaudit.data.augment import AugmentConfig, read_rows
    from plaudit.data.options import ReadConfig

    resolved = load([AugmentConfig, Sampling, ReadConfig], None, words or [])
    options, reading = resolved[AugmentConfig], resolved[ReadConfig]
    if (model is None) != (method == "swap_sides"):
        needs = f"and {method} needs it" if model is None else "which swap_sides does not need"
        raise UserError(f"--model says who rewrites, {needs}")
    rows = read_rows(reading.part(file), None if model is None else options.rewrite, **reading.keywords())
    from plaudit.pipeline.augmenting import augment as rewrite
    from plaudit.pipeline.augmenting import swap_sides

    if model is None or method == "swap_sides":
        result: dict[str, Any] = swap_sides(rows, out, options)
    else:
        from plaudit.engines.opening import open_engine

        engine = open_engine(model)
        with progress("answers") as told:
            result = rewrite(rows, out, engine, method, options, resolved[Sampling], told)
    emit_safely(result, as_json)
