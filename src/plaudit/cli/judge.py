"""`plaudit judge URL#MODEL`: a language model takes a seat among the annotators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.show import AsJson, emit
from plaudit.schema import UserError


def judge(
    model: Annotated[
        str, typer.Argument(metavar="URL#MODEL", help="A model of an OpenAI-compatible server; key: PLAUDIT_API_KEY.")
    ],
    project: Annotated[Path, typer.Option(help="The project's folder, or a store's file.")] = Path("."),
    kind: Annotated[str, typer.Option(help="What to ask: pairwise, rating (stars and aspects) or ranking.")] = "pairwise",
    questions: Annotated[int, typer.Option(help="Questions to ask at most; what people judged comes first.", min=1)] = 100,
    rubric: Annotated[
        Path | None, typer.Option(help="A text file with what to judge by; else the project's rubric, else a general one.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Questions that are asked at one time.", min=1, max=256)] = 8,
    as_json: AsJson = False,
) -> None:
    """Let a language model compare, rate or rank answers; `plaudit data quality` measures it against people."""
    from plaudit.cli.feedback import store_of
    from plaudit.engines.judging import Asked, Judge
    from plaudit.feedback.judge_seats import judged, keep, rubric_of, waiting
    from plaudit.store import Store
    from plaudit.training.progress import shown

    path, _, _ = store_of(project)
    with Store(path, readonly=True) as store:
        seat = Judge(model, _read(rubric) if rubric is not None else rubric_of(store))
        asked = waiting(store, seat.annotator, questions, kind)

    def write(found: Sequence[Asked]) -> None:
        with Store(path) as store:
            keep(store, seat, found)

    counts: Counter[str] = Counter()
    with shown() as progress:
        progress.task("judging", len(asked))
        for one in judged(seat, asked, write, concurrency=concurrency):
            counts[one.failure or "judged"] += 1
            progress.advance(counts.total())
    emit({"judge": seat.annotator, "kind": kind, "questions": len(asked), **counts}, as_json, f"Judge {seat.annotator}")


def _read(path: Path) -> str:
    try:
        text = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"--rubric {path} cannot be read: {problem}") from None
    if not text:
        raise UserError(f"--rubric {path} is empty: write what makes an answer better")
    return text
