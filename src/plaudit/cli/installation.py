"""The doctor's look at the installation: Python, packages, torch, the embedded model."""

from __future__ import annotations

import importlib
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Literal

from plaudit import __version__
from plaudit.schema import UserError

INSTALL = "pip install 'plaudit[train]'"


@dataclass(frozen=True)
class Check:
    """One finding. `ok`: nothing to do; `watch`: it works, but know this; `act`: something fails until `advice` is done."""

    what: str
    state: Literal["ok", "watch", "act"]
    found: str
    advice: str = ""


def checks() -> list[Check]:
    """Every check of the installation, in the order shown."""
    python = Check(
        "python", "ok", f"Plaudit {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    return [python, packages(), torch_build(), embedded_model()]


def packages() -> Check:
    """Are the packages of the `train` extra here, in versions that pyproject allows?"""
    wrong, seen = [], []
    for line in requires("plaudit") or []:
        need, _, marker = line.partition(";")
        match = re.match(r"([\w.-]+)(?:>=([\d.]+))?", need.strip())
        if match is None or ("extra" in marker and "train" not in marker):
            continue
        name, least = match[1], match[2]
        try:
            found = version(name)
        except PackageNotFoundError:
            wrong.append(f"{name} is missing")
            continue
        seen.append(name)
        if least and _numbers(found) < _numbers(least):
            wrong.append(f"{name} {found} is older than {least}")
    return (
        Check("packages", "act", "; ".join(wrong), INSTALL)
        if wrong
        else Check("packages", "ok", f"{len(seen)} needed, all here")
    )


def torch_build() -> Check:
    """Does torch load, and which build is it?"""
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "torch"
        return Check("torch", "act", "not installed" if absent else f"does not load: {error}", INSTALL)
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    found = f"{torch.__version__}, {build}, {torch.get_num_threads()} threads"
    if torch.version.cuda and not torch.cuda.is_available():
        return Check("torch", "watch", found, "no GPU is seen: fine on a CPU, else check the driver with nvidia-smi")
    return Check("torch", "ok", found)


def embedded_model() -> Check:
    """Is the default model's file here, and can its converted copy be kept?"""
    try:
        from plaudit.models.folder import cache_folder
        from plaudit.models.gguf import DEFAULT, default_file
    except ImportError as error:
        return Check("embedded model", "act", f"{error.name} is missing", INSTALL)
    try:
        file = default_file()
    except UserError as missing:
        return Check("embedded model", "watch", "not installed", f"for the demo: {str(missing).partition(': ')[2]}")
    kept = any(Path(cache_folder()).glob(f"models/{file.stem}*/*.safetensors"))
    return Check(
        "embedded model", "ok", f"{DEFAULT}, {'converted already' if kept else 'converted at first use (half a minute)'}"
    )


def _numbers(text: str) -> tuple[int, ...]:
    """`2.13.0+cpu` -> (2, 13, 0): enough to compare releases."""
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0]))
