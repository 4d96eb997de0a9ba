"""The light installation, made anew and tried: `python docs/light.py [--starts N]`, or `make light`.

In a temporary folder it builds the package, makes a virtual environment, and lets pip install `plaudit[feedback]` there and
nothing else. What came must hold no torch. Then `plaudit feedback` is started from it, a file is imported and one pair judged
through the Python client, and the time from the start to the first answer is measured. The exit code is 1 where any of that is
not as it should be, and 2 where pip could not install (it needs a package index).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "peft", "safetensors", "gguf", "tokenizers"}
TARGET = 2.0
"""Seconds from the start to the first answer at most."""
ROW = {"prompt": "Where is order 1182?", "chosen": "It left yesterday.", "rejected": "I do not know."}
CLIENT = """
import json, sys
from plaudit.feedback.client import FeedbackClient
with FeedbackClient(sys.argv[1]) as client:
    client.import_file(sys.argv[2])
    before = client.status()["counts"]["acts"]
    question = client.next("pairwise")
    client.judge(question["lease"], {"choice": "a", "strength": 2}, seconds=1.0)
    print(json.dumps({"new": client.status()["counts"]["acts"] - before}))
"""


@dataclass(frozen=True)
class Found:
    """What an installation is and does."""

    packages: tuple[str, ...]
    starts: tuple[float, ...]
    """Seconds from each start to the first answer."""
    worked: tuple[float, ...]
    """Processor seconds of the same, which other work does not lengthen; empty where the system does not tell."""
    judged: bool
    """Whether the pair that was judged is in the server's store."""

    @property
    def heavy(self) -> list[str]:
        return sorted(HEAVY & set(self.packages))

    @property
    def right(self) -> bool:
        return self.judged and not self.heavy and min(self.starts) < TARGET


def install(folder: Path) -> Path:
    """A fresh environment with `plaudit[feedback]` alone; returns its Python. CalledProcessError where pip cannot."""
    tree = folder / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(tree)], check=True)
    (wheel,) = folder.glob("plaudit-*.whl")
    subprocess.run([*pip, "install", "--constraint", str(ROOT / "constraints.txt"), f"{wheel}[feedback]"], check=True)
    return python


def installed(python: Path) -> tuple[str, ...]:
    """The packages of an environment, by their normalised names."""
    said = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True).stdout
    return tuple(sorted(re.sub(r"[-_.]+", "-", one["name"]).lower() for one in json.loads(said)))


def processor_seconds(pid: int) -> list[float]:
    """What a process has worked so far; [] where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")]


def start(python: Path, project: Path) -> tuple[subprocess.Popen[str], str, float]:
    """A server on a free port, its address, and the seconds until it answered. RuntimeError where it ended before."""
    began = time.perf_counter()
    command = [str(python), "-m", "plaudit", "feedback", "--project", str(project), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = re.search(r"http://\S+", process.stdout.readline())
    if found is None:
        raise RuntimeError(f"the server did not start: exit code {process.wait(10)}")
    while process.poll() is None:
        try:
            with urllib.request.urlopen(f"{found[0]}/health") as answer:
                if answer.read() == b"ok":
                    return process, found[0], time.perf_counter() - began
        except urllib.error.URLError:
            time.sleep(0.01)
    raise RuntimeError(f"the server ended before it answered: exit code {process.returncode}")


def judged(python: Path, url: str, folder: Path) -> bool:
    """Imports a pair and judges it, with the client of the same installation; whether the server has the act."""
    (folder / "rows.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    command = [str(python), "-c", CLIENT, url, str(folder / "rows.jsonl")]
    new: int = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)["new"]
    return new == 1


def tried(python: Path, folder: Path, starts: int = 3) -> Found:
    """Starts the pages of an installation several times, and judges a pair in the first."""
    project, times, worked, kept = folder / "project", [], [], False
    project.mkdir()
    for turn in range(starts):
        process, url, seconds = start(python, project)
        times.append(seconds)
        worked += processor_seconds(process.pid)
        try:
            kept = judged(python, url, folder) if turn == 0 else kept
        finally:
            process.terminate()
            process.wait(20)
    return Found(installed(python), tuple(times), tuple(worked), kept)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--starts", type=int, default=3)
    given = words.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("installing plaudit[feedback] into an environment of its own (a minute)", flush=True)
        try:
            python = install(folder)
        except subprocess.CalledProcessError:
            print("pip could not install: is there a package index? see above", file=sys.stderr)
            sys.exit(2)
        size = sum(one.stat().st_size for one in (folder / "venv").rglob("*") if one.is_file() and not one.is_symlink())
        found = tried(python, folder, given.starts)
    print(f"{len(found.packages)} packages, {size / 1e6:.0f} MB with pip: {', '.join(found.packages)}")
    print(f"heavy ones among them: {', '.join(found.heavy) or 'none'}")
    print(f"start to first answer: {', '.join(f'{one:.2f}' for one in found.starts)} s (target {TARGET:g} s)")
    print(f"of that processor time: {', '.join(f'{one:.2f}' for one in found.worked)} s")
    print(f"a pair judged through the client is kept: {'yes' if found.judged else 'NO'}")
    sys.exit(not found.right)


if __name__ == "__main__":
    main()
