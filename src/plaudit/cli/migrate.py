"""`plaudit migrate TOOL CONFIG`: another tool's config as a project."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from plaudit.schema import UserError


def migrate(
    tool: Annotated[str, typer.Argument(help="trl, llamafactory or openrlhf.")],
    config: Annotated[Path, typer.Argument(help="Its YAML file, or a script with its command line.")],
    out: Annotated[Path | None, typer.Option(help="Write here; else to the screen.")] = None,
    verb: Annotated[str | None, typer.Option(help="The algorithm, where the config does not say it.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a config of TRL, LLaMA-Factory or OpenRLHF as plaudit.yaml: `plaudit migrate trl dpo.yaml --out plaudit.yaml`.

    What has no counterpart is listed, in the file and on stderr. docs/coming-from-trl.md says what is different and why.
    """
    from plaudit.pipeline.migrate.writing import migrate as migrated
    from plaudit.pipeline.migrate.writing import text

    if out is not None and out.exists() and not force:
        raise UserError(f"{out} is there already; choose another --out, or add --force")
    made = migrated(tool, config, verb)
    written = text(made, config, project=config.stem if out is None else out.resolve().parent.name)
    if out is None:
        print(written, end="")
    else:
        out.write_text(written, encoding="utf-8")
    changed = sum(bool(note) for _, note in made.lines.values())
    print(
        f"{made.verb}: {len(made.lines)} options, {changed} with a comment, {len(made.without)} without a counterpart",
        file=sys.stderr,
    )
    for name, why in made.without.items():
        print(f"  {name}: {why}", file=sys.stderr)
