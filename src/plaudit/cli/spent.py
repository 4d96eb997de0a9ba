"""`plaudit runs show RUN`: where one run's time and memory went, beside what was said before it. It loads no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from plaudit.schema import UserError


def spent(run: Path) -> dict[str, Any]:
    """What a run's usage.json and estimate.json say. UserError: there is no run, or none that counted."""
    usage, said = _read(run / "usage.json"), _read(run / "estimate.json")
    if usage is None:
        why = "is no folder" if not run.is_dir() else "has no usage.json: its first checkpoint has not been written yet"
        raise UserError(f"{run} {why}; `plaudit runs` lists the runs")
    here = (said or {}).get("here") or {}
    before, peak = usage.get("memory_before_bytes") or 0, usage.get("peak_memory_bytes")
    return {
        "run": str(run),
        **usage,
        "predicted": {
            "seconds": here.get("phases_seconds", {}),
            "interval_seconds": here.get("interval_seconds"),
            "memory_bytes": (said or {}).get("memory", {}).get("bytes"),
            "interval_memory_bytes": (said or {}).get("memory", {}).get("interval_bytes"),
        },
        "own_memory_bytes": None if peak is None else peak - before,
    }


def show(found: dict[str, Any]) -> None:
    """The same as tables."""
    from rich.console import Console
    from rich.table import Table

    from plaudit.cli.estimate import size, span

    out, total, predicted = Console(highlight=False), found["total_seconds"], found["predicted"]
    table = Table("phase", "took", "share", "said before", box=None, header_style="bold", title_justify="left")
    for name, seconds in found["seconds"].items():
        told = predicted["seconds"].get(name)
        if seconds or told:
            share = f"{seconds / total:.0%}" if total else ""
            table.add_row(name, span(seconds), share, "" if told is None else span(told))
    told = f"{span(sum(predicted['seconds'].values()))}" if predicted["seconds"] else ""
    if predicted["interval_seconds"]:
        low, high = predicted["interval_seconds"]
        told += f" ({span(low)} to {span(high)})"
    table.add_row("all", span(total), "", told, style="bold")
    out.print(table)
    for name, count in found["tokens"].items():
        rate = found["tokens_per_second"].get(name)
        if count:
            out.print(f"tokens {name.replace('_', ' ')}: {count:,}" + (f", {rate:,.0f} a second" if rate else ""))
    if found["peak_memory_bytes"]:
        line = f"peak memory of the {found['memory_of']}: {size(found['peak_memory_bytes'])}"
        line += f", {size(found['own_memory_bytes'])} of it the run's own"
        if predicted["memory_bytes"]:
            low, high = predicted["interval_memory_bytes"]
            line += f" (said before: {size(predicted['memory_bytes'])}, {size(low)} to {size(high)})"
        out.print(line)
        if found.get("raised_memory_bytes"):
            out.print("reached in: " + max(found["raised_memory_bytes"], key=found["raised_memory_bytes"].__getitem__))
    if found["processes"] > 1:
        out.print(f"over {found['processes']} processes: the run was stopped and resumed")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
