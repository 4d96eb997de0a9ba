"""`plaudit classify MODEL FILE`: the class of each row, and a report where the rows have labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit, figure, progress
from plaudit.schema import Label, UserError

if TYPE_CHECKING:
    from plaudit.evaluation.classification import ClassificationReport


def classify(
    model: Annotated[Path, typer.Argument(metavar="RUN|MODEL", help="The folder of a `train classify` run, or of its model.")],
    file: Annotated[Path, typer.Argument(help="A file with `text`, or `prompt` and `completion`; `label` for a report.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write each row with its class here.")] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Cut rows to this many tokens; none: the model's most.")] = None,
    as_json: AsJson = False,
) -> None:
    """Classify rows: `plaudit classify runs/intents test.jsonl -o classes.jsonl`."""
    from plaudit.data.encode import encode_labels
    from plaudit.data.readers import read_jsonl, without_nulls, write_jsonl
    from plaudit.models.classifier import load_classifier
    from plaudit.models.machine import device

    classifier = load_classifier(model, device())
    rows = read_jsonl(file)
    labelled = [row.get("label") is not None for row in rows]
    if any(labelled) and not all(labelled):
        raise UserError(f"{file}, row {labelled.index(False) + 1}: has no label, but others do; label all rows or none")
    items = labels_of([without_nulls(row) for row in rows], classifier.classes, file)
    if bad := next((item.value for item in items if not 0 <= item.value < len(classifier.classes)), None):
        raise UserError(f"{file}: the label {bad:g} is none of the model's {len(classifier.classes)} classes")
    context = int(classifier.model.config.max_position_embeddings)
    encoded, report = encode_labels(classifier.tokenizer, items, max_length=min(max_length or context, context))
    with progress("rows") as told:
        chances = classifier([item.rows[0].ids for item in encoded], told)
    said = chances.argmax(-1).tolist()
    sources = [item.source for item in encoded]
    found = [
        {"row": source + 1, "class": classifier.classes[number], "probability": float(chances[place, number])}
        for place, (source, number) in enumerate(zip(sources, said, strict=True))
    ]
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(output, [rows[one["row"] - 1] | {k: one[k] for k in ("class", "probability")} for one in found])
    result: dict[str, Any] = {"rows": len(rows), "left_out": len(report.left_out), "truncated": report.truncated}
    if not any(labelled):
        emit({**result, "predictions": found} if as_json else result | counted(found), as_json)
        return
    from plaudit.evaluation.classification import ClassificationReport

    told_of = ClassificationReport.of([int(items[source].value) for source in sources], said, classifier.classes)
    if as_json:
        emit({**result, **told_of.as_json(), "predictions": found}, True)
    else:
        emit(result, False)
        _table(told_of)


def labels_of(rows: list[dict[str, Any]], classes: Sequence[str], file: Path) -> list[Label]:
    """Rows as labelled ones; of a row without a label the value is not looked at."""
    from plaudit.data.judged import label

    for number, row in enumerate(rows, 1):
        if "text" not in row and not {"prompt", "completion"} <= set(row):
            there = ", ".join(name for name in row if name != "label")
            raise UserError(f"{file}, row {number}: needs the columns text, or prompt and completion; there are: {there}")
    return [label({"label": 0, **row}, f"{file}, row {number}", classes) for number, row in enumerate(rows, 1)]


def counted(found: list[dict[str, Any]]) -> dict[str, int]:
    """How many rows each class got."""
    names = sorted({one["class"] for one in found})
    return {f"class {name}": sum(one["class"] == name for one in found) for name in names}


def _table(report: ClassificationReport) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    figures = report.as_json()
    table = Table("class", "rows", "precision", "95 %", "recall", "95 %", "F1", box=None, header_style="bold")
    for one in figures["per_class"]:
        names = ("rows", "precision", "precision_ci", "recall", "recall_ci", "f1")
        table.add_row(escape(one["class"]), *(figure(one[name]) for name in names))
    console = Console(highlight=False)
    console.print(table, "")
    emit({name: figures[name] for name in ("accuracy", "accuracy_ci", "f1_macro", "f1_micro", "f1_weighted")}, False)
