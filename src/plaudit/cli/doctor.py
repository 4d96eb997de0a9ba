"""`plaudit doctor`: is this installation sound, and what can this machine do?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from plaudit.cli.show import AsJson, emit

STYLE = {"ok": "green", "watch": "yellow", "act": "red"}


def doctor(
    runs: Annotated[Path, typer.Option(help="Where runs are to be written.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Check the installation and the machine: ok, watch or act (exit code 1), with what to do."""
    from plaudit.cli import installation, machine

    checks = [*installation.checks(), *machine.checks(runs)]
    if as_json:
        emit([asdict(check) for check in checks], True)
    else:
        from rich.console import Console
        from rich.table import Table

        table = Table("", "what", "found", "what to do", box=None, header_style="bold")
        for check in checks:
            table.add_row(f"[{STYLE[check.state]}]{check.state}[/]", check.what, check.found, check.advice)
        Console(highlight=False).print(table)
    if any(check.state == "act" for check in checks):
        raise typer.Exit(1)
