"""Where a run came from: data and models by digest, which other run made them, code, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plaudit.evaluation.runs.reading import DATA_OPTIONS, RunFiles, number, numbers
from plaudit.schema import JSON


def lineage(run: RunFiles, others: Sequence[RunFiles] = ()) -> list[JSON]:
    """One row for each input: option, what was given, its digest, and the run among `others` that wrote it."""
    found = []
    for option, digest in run.inputs.items():
        given = run.config.get(option)
        found.append(
            {
                "input": option,
                "given": "" if given is None else str(given),
                "digest": str(digest),
                "from": _maker(given, run, others),
            }
        )
    told = {row["input"] for row in found}
    for option in DATA_OPTIONS:
        if option not in told and run.config.get(option):
            found.append({"input": option, "given": str(run.config[option]), "digest": "", "from": ""})
    return found


def _maker(given: Any, run: RunFiles, others: Sequence[RunFiles]) -> str:
    """The run whose folder a path lies in."""
    if not isinstance(given, str) or not given:
        return ""
    try:
        path = Path(given).resolve()
    except (OSError, ValueError):  # no path at all
        return ""
    makers = [other.name for other in others if other.folder != run.folder and path.is_relative_to(other.folder.resolve())]
    return makers[0] if makers else ""


def cost(run: RunFiles, price_per_hour: float | None = None) -> JSON:
    """Seconds by phase, tokens, memory, and the price of the machine's time where one is given."""
    usage = run.usage
    seconds = number(usage.get("total_seconds"))
    if seconds is None:
        seconds = number(run.summary.get("seconds"))
    found: JSON = {"seconds": seconds, "phases": numbers(usage.get("seconds")), "tokens": numbers(usage.get("tokens"))}
    found |= {
        "tokens_per_second": numbers(usage.get("tokens_per_second")),
        "peak_memory_bytes": number(usage.get("peak_memory_bytes")),
    }
    if price_per_hour is not None and seconds is not None:
        found["price"] = seconds / 3600 * price_per_hour
    return found
