"""The logs of other libraries as rows with a `step`: TRL's trainer_state.json, verl's and OpenRLHF's JSONL or console output.

UserError, one sentence, for a file that cannot be read or holds no step with a known figure.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plaudit.evaluation.doctor.names import origin_of
from plaudit.schema import UserError, json_lines

Row = dict[str, Any]
STEPS = ("step", "_step", "global_step", "train/global_step", "Step")
PREFIX = "train/"
"""What trackers put before names; taken off."""
VERL = re.compile(r"step:(\d+) - (.+)")
OPENRLHF = re.compile(r"[Gg]lobal step (\d+): (\{.*\})")
STATE = "trainer_state.json"
MOST_BYTES = 1 << 30


def trainer_state(folder: Path) -> Path | None:
    """TRL's log below a folder: its own, or that of the newest checkpoint; None where there is none."""
    if (folder / STATE).is_file():
        return folder / STATE
    found = [path for path in folder.glob(f"checkpoint-*/{STATE}") if path.parent.name.rpartition("-")[2].isdigit()]
    return max(found, key=lambda path: int(path.parent.name.rpartition("-")[2]), default=None)


def read_log(path: Path) -> tuple[str, list[Row]]:
    """Whose log it is, and its rows in the order of steps; the rows of one step are one row.

    UserError where nothing in the file is a log.
    """
    text = _text(path)
    rows = _merged([*_json_rows(text), *_printed_rows(text)])
    origin = origin_of(rows)
    if not origin:
        raise UserError(
            f"{path}: no line holds a step with a figure that Plaudit, TRL, verl or OpenRLHF logs; give a run's folder, "
            "trainer_state.json, a JSONL of metrics or the console output"
        )
    return ("trl" if path.name == STATE else origin), rows


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: is larger than 1 GiB; give the log of one run")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        raise UserError(f"{path} cannot be read: {reason}; give the log as text") from None


def _json_rows(text: str) -> Iterator[Row]:
    """One JSON object with a log_history, a JSON list of rows, or a row in each line; other lines are passed over."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("log_history"), list):
        whole = whole["log_history"]
    for row in whole if isinstance(whole, list) else _lines(text):
        if isinstance(row, dict) and (found := _row(row)):
            yield found


def _lines(text: str) -> Iterator[Any]:
    for line in json_lines(text):
        if line.lstrip().startswith("{"):
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue  # the last line of a run that is still writing, or a line of the console


def _row(row: Mapping[str, Any]) -> Row | None:
    """A row with its step under `step`; verl's file keeps the figures under `data`."""
    name = next((name for name in STEPS if _whole(row.get(name))), None)
    if name is None:
        return None
    inner = row["data"] if isinstance(row.get("data"), dict) else {key: value for key, value in row.items() if key != name}
    return {"step": int(row[name])} | {str(key).removeprefix(PREFIX): value for key, value in inner.items()}


def _whole(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value and abs(value) < 1e15


def _printed_rows(text: str) -> Iterator[Row]:
    """verl's `step:3 - actor/ppo_kl:0.01 - ...`, and OpenRLHF's `Global step 3: {'reward': 0.1, ...}`."""
    for line in text.splitlines():
        if match := VERL.search(line):
            parts = (part.rpartition(":") for part in match[2].split(" - "))
            yield {"step": int(match[1])} | {name.strip(): float(value) for name, _, value in parts if _is_number(value)}
        elif match := OPENRLHF.search(line):
            try:
                found = ast.literal_eval(match[2])
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            yield {"step": int(match[1])} | {str(name): value for name, value in found.items()}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _merged(rows: Sequence[Row]) -> list[Row]:
    """Rows of one step together, in the order of steps; a later figure takes the place of an earlier one."""
    found: dict[int, Row] = {}
    for row in rows:
        found.setdefault(row["step"], {}).update(row)
    return [found[step] for step in sorted(found)]
