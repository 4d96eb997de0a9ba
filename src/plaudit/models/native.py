"""C++ sources of this package, compiled once by the machine's own compiler and kept in the cache folder.

Without a compiler, or where compiling fails, there is no library, and torch does the same.
"""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from plaudit.models.folder import cache_folder

HEADERS = sorted(Path(__file__).parent.glob("*.h"))
"""What sources here include."""
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-march=native", "-shared", "-fPIC")
"""OpenMP's library is the one that torch has loaded, so both share their threads."""
WIDE = "-mprefer-vector-width=512"
"""For x86 alone: compilers there keep to half the width otherwise."""


@cache
def library(source: Path, slower: str, functions: Callable[[], Mapping[str, tuple[Any, ...]]]) -> ctypes.CDLL | None:
    """The compiled source; None where it cannot be had, which is said once: `slower` is what is slower then.

    `functions`: name -> types of the arguments of what it must hold; all return nothing.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        _say(f"{slower} is slower without a C++ compiler: install g++ or clang++, and it is used by itself.")
        return None
    try:
        found = ctypes.CDLL(str(_compiled(compiler, source)))
        for name, arguments in functions().items():
            function = getattr(found, name)
            function.argtypes, function.restype = arguments, None
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        _say(f"{slower} is slower: {compiler} could not make its kernels ({error}), so torch alone is used.")
        return None
    return found


def _compiled(compiler: str, source: Path) -> Path:
    """The library's file; compiled where the cache has none for this source, compiler and processor.

    A file that another user could have written is never loaded.
    """
    about = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    texts = source.read_bytes(), *(header.read_bytes() for header in HEADERS), about, " ".join(FLAGS).encode(), _processor()
    key = hashlib.sha256(b"\0".join(texts)).hexdigest()[:16]
    folder = cache_folder() / "kernels"
    file = folder / f"{source.stem}-{key}.so"
    if file.exists() and _own(folder) and _own(file):
        return file
    _say(f"compiling {source.name}, once on this machine (some seconds) ...")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = _own(folder) and os.access(folder, os.W_OK)
    except OSError:
        private = False
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "kernels.so"
        _compile(compiler, source, made)
        if not private:  # loaded from here, and gone with the process
            kept = Path(tempfile.mkdtemp(prefix="plaudit-")) / made.name
            atexit.register(shutil.rmtree, kept.parent, ignore_errors=True)
            shutil.copyfile(made, kept)
            return kept
        beside = folder / f"{file.name}.{os.getpid()}"
        shutil.copyfile(made, beside)
        beside.replace(file)
    return file


def _compile(compiler: str, source: Path, file: Path) -> None:
    for flags in ((*FLAGS, WIDE), FLAGS):
        command = [compiler, *flags, f"-I{HEADERS[0].parent}", "-o", str(file), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if done.returncode == 0:
            return
    last = done.stderr.strip().splitlines()
    raise OSError(last[-1] if last else f"exit status {done.returncode}")


def _own(path: Path) -> bool:
    """Ours, and nobody else may write there."""
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _processor() -> bytes:
    """What tells processors apart that understand different instructions: home folders are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return os.uname().machine.encode()
    return b"\n".join(sorted({line for line in lines if line.startswith((b"flags", b"Features", b"model name"))}))


def _say(sentence: str) -> None:
    logging.getLogger("plaudit").warning(sentence)
