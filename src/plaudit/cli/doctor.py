"""`plaudit doctor`: is this installation sound? `plaudit doctor RUN`: is this run, data set or reward model?

Exit codes: 0 nothing to act on; 1 a check or rule says act; 2 the path cannot be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.cli.show import AsJson, emit, figure, progress

if TYPE_CHECKING:
    from plaudit.evaluation.doctor import Evidence, Finding, Rule

STYLE = {"ok": "green", "watch": "yellow", "act": "red", "unknown": "dim"}
BARS = "▁▂▃▄▅▆▇█"
ELSEWHERE = {"run": "data and reward models", "dataset": "runs and reward models", "model": "data and runs"}
ONWARDS = {
    "run": "Next: measure the model on prompts that it never saw: plaudit evaluate.",
    "dataset": "Next: train on it: plaudit train --list says what it serves.",
    "model": "Next: see where it is wrong (plaudit card), and how far it may be optimised (plaudit preflight).",
}
"""By the kind of what was looked at: what the other rules are about, and what comes next where all is well."""
TREND, WIDE = 16, 120
"""Bars of a trend; columns of a terminal from which on each rule's question stands beside it."""


def doctor(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RUN|DATASET|MODEL]", help="A run or log (TRL, verl, OpenRLHF too), data, a store, a reward model."
        ),
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(help="Pairs to measure a reward model on, or the test file beside a data set."),
    ] = None,
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule; may be given again.")] = None,
    page: Annotated[Path | None, typer.Option(help="Write the findings with plots as one offline HTML file.")] = None,
    runs: Annotated[Path, typer.Option(help="Without a path: where runs are to be written.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Say what is wrong and what to do: of the installation, or of a run, a data set or a reward model (docs/doctor.md).

    The exit code is 1 where something is to be acted on, 2 where the path cannot be read.
    """
    acts = _installation(runs, as_json) if path is None else _patient(path, held_out, rule or [], page, as_json)
    if acts:
        raise typer.Exit(1)


def _installation(runs: Path, as_json: bool) -> bool:
    """The installation and the machine; True where something fails until it is mended."""
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
    return any(check.state == "act" for check in checks)


def _patient(path: Path, held_out: Path | None, chosen: Sequence[str], page: Path | None, as_json: bool) -> bool:
    """The rules on what lies at `path`; True where one says act."""
    from plaudit.evaluation.doctor import chosen_rules, examine, look

    every = chosen_rules(chosen)
    with progress("pairs scored") as told:
        evidence = look(path, held_out, told)
    findings = examine(evidence, chosen)
    if page is not None:
        from plaudit.evaluation.doctor.page import write

        write(page, evidence, every, findings)
    if as_json:
        emit([one.to_json() for one in findings], True)
    else:
        _table(evidence, every, findings)
    return any(one.status == "act" for one in findings)


def _table(evidence: Evidence, rules: Sequence[Rule], findings: Sequence[Finding]) -> None:
    """A line for each rule that could be measured, the gravest first; then what to do; then what was not there."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from plaudit.data.inspect import safely
    from plaudit.evaluation.doctor import ORDER
    from plaudit.evaluation.doctor.page import plotted

    console = Console(highlight=False)

    def said(text: str, indent: int, style: str = "") -> None:
        console.print(Padding(Text(text), (0, 0, 0, indent)), style=style)

    pairs = sorted(zip(rules, findings, strict=True), key=lambda pair: ORDER.index(pair[1].status))
    measured = [pair for pair in pairs if pair[1].status != "unknown"]
    table = Table("", box=None, header_style="bold")
    for name in ("rule", "value", "interval", "trend"):
        table.add_column(name, no_wrap=True)
    wide = console.width >= WIDE
    if wide:
        table.add_column("asks")
    for rule, found in measured:
        trend = next((sparkline([value for _, value in points]) for _, points in plotted(evidence, rule)), "")
        ends = f"[{figure(found.interval[0])}, {figure(found.interval[1])}]" if found.interval else ""
        state = f"[{STYLE[found.status]}]{found.status}[/]"
        table.add_row(state, rule.name, figure(found.value), ends.replace("[", r"\["), trend, *([rule.about] if wide else []))
    console.print(
        f"a {evidence.kind} of {evidence.origin}: {safely(evidence.path)}" if evidence.kind == "run" else safely(evidence.path),
        markup=False,
    )
    console.print(table if measured else "nothing could be measured")
    for rule, found in measured:
        if found.status != "ok":
            console.print(f"\n{rule.name}: {rule.about}", markup=False, style="bold")
            said(f"{found.threshold} ({found.source})", 2)
            for number, cause in enumerate(found.causes, 1):
                said(f"{number}. {safely(cause, 300)}", 2)
            said(f"next: {safely(found.next, 400)}", 2)
    absent = [(rule.name, found.causes) for rule, found in pairs if found.status == "unknown" and evidence.kind in rule.kinds]
    if absent:
        console.print(f"\nunknown: {len(absent)} of {len(findings)} rules, which need", style="dim")
        for name, causes in absent:
            said(f"{name}: {safely('; '.join(causes), 300)}", 2, "dim")
    elsewhere = sum(evidence.kind not in rule.kinds for rule, found in pairs if found.status == "unknown")
    if elsewhere:
        console.print(f"\n{elsewhere} rules are about {ELSEWHERE[evidence.kind]}, and were not asked", style="dim")
    console.print(f"\n{_conclusion(evidence.kind, [(rule.name, found.status) for rule, found in measured])}", markup=False)


def _conclusion(kind: str, statuses: Sequence[tuple[str, str]]) -> str:
    """What to do first, in one sentence."""
    acts, watches = ([name for name, status in statuses if status == wanted] for wanted in ("act", "watch"))
    if acts:
        return f"Mend first: {', '.join(acts)}. What to do stands behind `next` above; then ask the doctor again."
    if not statuses:
        return "Nothing could be said: give it the files that the rules above need."
    sound = f"Nothing to act on; keep an eye on {', '.join(watches)}." if watches else "Nothing to act on."
    return f"{sound} {ONWARDS[kind]}"


def sparkline(values: Sequence[Any]) -> str:
    """Values as a row of bars, thinned to 16; what is no number is a blank."""
    step = max(1, len(values) // TREND)
    shown = list(values)[::-1][::step][:TREND][::-1]
    real = [value for value in shown if value - value == 0]
    low, high = (min(real), max(real)) if real else (0.0, 0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] if value - value == 0 else " " for value in shown)
