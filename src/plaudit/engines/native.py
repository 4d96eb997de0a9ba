"""kernels.cpp, compiled once by the machine's own C++ compiler and kept in the cache folder.

Without a compiler, or where compiling fails, there is no library and torch does the same (`kernels.Kernels`).
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
from ctypes import c_double, c_int, c_long, c_void_p
from functools import cache
from pathlib import Path

from plaudit.models.folder import cache_folder

SOURCE = Path(__file__).with_name("kernels.cpp")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-march=native", "-shared", "-fPIC")
"""OpenMP's library is the one that torch has loaded, so both share their threads."""
WIDE = "-mprefer-vector-width=512"
"""For x86 alone: compilers there keep to half the width otherwise."""
ARGUMENTS = {
    "norm": (c_void_p,) * 4 + (c_long,) * 2 + (c_double, c_int, c_int),
    "gate": (c_void_p,) * 2 + (c_long,) * 2 + (c_int,),
    "attend": (c_void_p,) * 9 + (c_long,) * 8 + (c_double, c_double, c_int),
    "draw": (c_void_p,) * 2 + (c_long,) * 2 + (c_double,) * 2 + (c_void_p,) * 2 + (c_int,),
}
TYPES = ("bfloat16", "float32", "float64")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels as `<name>_<type>`; None where they cannot be had, which is said once."""
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        _say("generation is slower without a C++ compiler: install g++ or clang++, and it is used by itself.")
        return None
    try:
        found = ctypes.CDLL(str(_compiled(compiler)))
        for name, arguments in ARGUMENTS.items():
            for kind in TYPES:
                function = getattr(found, f"{name}_{kind}")
                function.argtypes, function.restype = arguments, None
    except (OSError, AttributeError, subprocess.SubprocessError) as error:
        _say(f"generation is slower: {compiler} could not make its kernels ({error}), so torch alone is used.")
        return None
    return found


def _compiled(compiler: str) -> Path:
    """The library's file; compiled where the cache has none for this source, compiler and processor.

    A file that another user could have written is never loaded.
    """
    about = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=60).stdout
    key = hashlib.sha256(b"\0".join((SOURCE.read_bytes(), about, " ".join(FLAGS).encode(), _processor()))).hexdigest()[:16]
    folder = cache_folder() / "kernels"
    file = folder / f"decoding-{key}.so"
    if file.exists() and _own(folder) and _own(file):
        return file
    _say("compiling the kernels of the torch engine, once on this machine (some seconds) ...")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        private = _own(folder) and os.access(folder, os.W_OK)
    except OSError:
        private = False
    with tempfile.TemporaryDirectory() as place:
        made = Path(place) / "kernels.so"
        _compile(compiler, made)
        if not private:  # loaded from here, and gone with the process
            kept = Path(tempfile.mkdtemp(prefix="plaudit-")) / made.name
            atexit.register(shutil.rmtree, kept.parent, ignore_errors=True)
            shutil.copyfile(made, kept)
            return kept
        beside = folder / f"{file.name}.{os.getpid()}"
        shutil.copyfile(made, beside)
        beside.replace(file)
    return file


def _compile(compiler: str, file: Path) -> None:
    for flags in ((*FLAGS, WIDE), FLAGS):
        done = subprocess.run([compiler, *flags, "-o", str(file), str(SOURCE)], capture_output=True, text=True, timeout=300)
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
