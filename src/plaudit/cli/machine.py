"""The doctor's look at the machine: cores, matrix units and number formats, GPU, memory, disk. Anything unknown is left out."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any

from plaudit.cli.installation import Check

GIB = 1 << 30


def checks(runs: Path) -> list[Check]:
    """Every check of the machine; `runs` is where run folders are to be written."""
    found = [cores(), numbers(), accelerator(), memory(), writable("runs", runs, "run in another folder"), cache()]
    return [check for check in found if check is not None]


def cores(root: Path = Path("/")) -> Check:
    """How many cores this process may use: the machine's, less what affinity and a container's quota take away."""
    machine = os.cpu_count() or 1
    allowed = float(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else float(machine)
    usable = min(allowed, cpu_quota(root) or allowed)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    found = f"{usable:g} usable of {machine}" + (f", OMP_NUM_THREADS={threads}" if threads else "")
    wanted = max(1, int(usable))
    if threads.isdecimal() and int(threads) != wanted:
        return Check("cores", "watch", found, f"OMP_NUM_THREADS={wanted} would fit")
    if not threads and usable < allowed:
        return Check(
            "cores", "watch", found, f"the container's quota is below the cores it shows: set OMP_NUM_THREADS={wanted}"
        )
    return Check("cores", "ok", found)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores that a cgroup (version 2, then 1) grants; None where there is no limit."""
    quota, period = _words(root / "sys/fs/cgroup/cpu.max", 2)
    if quota is None:
        (quota,), (period,) = (_words(root / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us", 1) for name in ("quota", "period"))
    if quota is None or period is None or not quota.isdecimal() or not int(period):
        return None
    return int(quota) / int(period)


def numbers(root: Path = Path("/")) -> Check:
    """Which number formats the CPU multiplies fast. bf16 without matrix units is slower than fp32."""
    flags = cpu_flags(root)
    if flags is None:
        return Check("cpu formats", "watch", f"unknown on {platform.system()} {platform.machine()}", "fp32 is the safe choice")
    if "amx_bf16" in flags:
        return Check("cpu formats", "ok", "fp32, bf16 on AMX matrix units")
    if flags & {"avx512_bf16", "bf16"}:
        return Check("cpu formats", "ok", f"fp32, bf16 by {'AVX-512' if 'avx512_bf16' in flags else 'NEON'}")
    if flags & {"avx512f", "avx2", "asimd"}:
        return Check("cpu formats", "ok", "fp32 (bf16 only in emulation: do not set bf16)")
    return Check("cpu formats", "watch", "fp32 without wide vectors", "expect this machine to be several times slower")


def cpu_flags(root: Path = Path("/")) -> set[str] | None:
    """The CPU's features under Linux's names; from torch where there is no /proc; None where neither knows."""
    try:
        for line in (root / "proc/cpuinfo").read_text(errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return set(value.split())
    except OSError:
        pass
    try:
        known = importlib.import_module("torch").cpu.get_capabilities()
    except (ImportError, AttributeError, RuntimeError):
        return None
    renamed = {"avx512_f": "avx512f", "neon": "asimd"}
    return {renamed.get(name, name) for name, there in known.items() if there is True}


def accelerator() -> Check | None:
    """The GPU, its memory and whether it does bf16; None where there is none or torch is missing."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    if torch.cuda.is_available():
        device: Any = torch.cuda.get_device_properties(0)
        formats = "fp32, bf16" if torch.cuda.is_bf16_supported() else "fp32, fp16 only"
        more = f" and {torch.cuda.device_count() - 1} more" if torch.cuda.device_count() > 1 else ""
        return Check("gpu", "ok", f"{device.name}{more}, {device.total_memory / GIB:.0f} GiB, {formats}")
    if torch.backends.mps.is_available():
        return Check("gpu", "ok", "Apple MPS")
    return None


def memory(root: Path = Path("/")) -> Check | None:
    """Memory that can still be had: the system's, or a container's where it is less. The demo needs about 3 GiB."""
    free = memory_free(root)
    if free is None:
        return None
    found = f"{free / GIB:.1f} GiB free"
    if free < 2 * GIB:
        return Check("memory", "act", found, "close other programs; the demo needs about 3 GiB")
    return Check("memory", "watch", found, "enough for small models only") if free < 4 * GIB else Check("memory", "ok", found)


def memory_free(root: Path = Path("/")) -> int | None:
    """Bytes, the least of MemAvailable and of what a cgroup leaves; None where the system does not say."""
    known = []
    try:
        lines = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines() if ":" in line)
        known.append(int(lines["MemAvailable"].split()[0]) * 1024)
    except (OSError, KeyError, ValueError, IndexError):
        pass
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        (most,), (now,) = _words(root / "sys/fs/cgroup" / limit, 1), _words(root / "sys/fs/cgroup" / used, 1)
        if most and now and most.isdecimal() and now.isdecimal():
            known.append(max(0, int(most) - int(now)))
    if not known and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(known, default=None)


def cache() -> Check | None:
    """The folder of converted models; None where torch is missing, since nothing is converted then."""
    try:
        from plaudit.models.folder import cache_folder
    except ImportError:
        return None
    return writable("cache", Path(cache_folder()), "set PLAUDIT_CACHE to a folder with room")


def writable(what: str, folder: Path, advice: str) -> Check:
    """Can `folder` (or, until it is made, the nearest folder above it) be written to, and is there room?"""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"plaudit")
    except OSError as error:
        return Check(what, "act", f"{folder}: {error.strerror}", advice)
    free = shutil.disk_usage(place).free
    found = f"{folder}, {free / GIB:.0f} GiB free"
    if free < GIB:
        return Check(what, "act", f"{folder}, {free / GIB:.1f} GiB free", f"make room, or {advice}")
    return (
        Check(what, "watch", found, "checkpoints take room: about 2 GiB for a run")
        if free < 5 * GIB
        else Check(what, "ok", found)
    )


def _words(file: Path, count: int) -> list[str | None]:
    """The first words of a small system file; None for each that is not there."""
    try:
        words: list[str | None] = list(file.read_text().split())
    except OSError:
        words = []
    return (words + [None] * count)[:count]
