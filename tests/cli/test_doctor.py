"""The doctor on machines that are written down: a container, an old CPU, an Arm, a full disk."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path

import pytest

from plaudit.cli import installation, machine
from plaudit.cli.main import main

GIB = 1 << 30


def system(root: Path, **files: str) -> Path:
    """A root folder with these system files: `proc_meminfo=...` is /proc/meminfo."""
    places = {
        "cpu_max": "sys/fs/cgroup/cpu.max",
        "quota": "sys/fs/cgroup/cpu/cpu.cfs_quota_us",
        "period": "sys/fs/cgroup/cpu/cpu.cfs_period_us",
        "memory_max": "sys/fs/cgroup/memory.max",
        "memory_current": "sys/fs/cgroup/memory.current",
        "meminfo": "proc/meminfo",
        "cpuinfo": "proc/cpuinfo",
    }
    for name, text in files.items():
        path = root / places[name]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu_max": "150000 100000\n"}, 1.5),
        ({"cpu_max": "max 100000\n"}, None),
        ({"quota": "200000", "period": "100000"}, 2.0),
        ({"quota": "-1", "period": "100000"}, None),
        ({}, None),
    ],
)
def test_a_containers_quota_of_cores(tmp_path, files, cores):
    assert machine.cpu_quota(system(tmp_path, **files)) == cores


def test_cores_beyond_the_quota_are_warned_of(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 16)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    check = machine.cores(system(tmp_path, cpu_max="200000 100000"))
    assert (check.state, check.found) == ("watch", "2 usable of 16") and "OMP_NUM_THREADS=2" in check.advice
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert machine.cores(tmp_path).state == "ok"
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert machine.cores(tmp_path).advice == "OMP_NUM_THREADS=2 would fit"


@pytest.mark.parametrize(
    ("line", "state", "said"),
    [
        ("flags : fpu avx2 avx512f avx512_bf16 amx_bf16 amx_tile", "ok", "bf16 on AMX"),
        ("flags : fpu avx2 avx512f avx512_bf16", "ok", "bf16 by AVX-512"),
        ("Features : fp asimd bf16", "ok", "bf16 by NEON"),
        ("flags : fpu avx2", "ok", "do not set bf16"),
        ("flags : fpu sse2", "watch", "without wide vectors"),
    ],
)
def test_number_formats_from_the_flags(tmp_path, line, state, said):
    check = machine.numbers(system(tmp_path, cpuinfo=f"processor : 0\n{line}\n\nprocessor : 1\n{line}\n"))
    assert check.state == state and said in check.found


def test_number_formats_without_proc_come_from_torch_or_are_unknown(tmp_path, monkeypatch):
    Torch, Cpu = namedtuple("Torch", "cpu"), namedtuple("Cpu", "get_capabilities")
    known = {"avx2": True, "avx512_f": True, "avx512_bf16": False, "cpu_name": "x", "num_sockets": 1}
    monkeypatch.setattr(machine.importlib, "import_module", lambda _: Torch(Cpu(lambda: known)))
    assert machine.cpu_flags(tmp_path) == {"avx2", "avx512f"}
    monkeypatch.setattr(machine.importlib, "import_module", lambda _: Torch(None))
    assert machine.cpu_flags(tmp_path) is None and machine.numbers(tmp_path).state == "watch"


def test_memory_is_the_least_of_system_and_container(tmp_path):
    meminfo = f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB\n"
    assert machine.memory_free(system(tmp_path, meminfo=meminfo)) == 8 * GIB
    system(tmp_path, memory_max=str(4 * GIB), memory_current=str(3 * GIB))
    check = machine.memory(tmp_path)
    assert check is not None and (check.state, check.found) == ("act", "1.0 GiB free")
    system(tmp_path, memory_max="max\n")
    assert machine.memory_free(tmp_path) == 8 * GIB


def test_a_folder_that_cannot_be_written_or_is_full(tmp_path, monkeypatch):
    assert machine.writable("runs", tmp_path / "not" / "yet", "x").state != "act"
    assert not (tmp_path / "not").exists(), "looking makes nothing"
    (tmp_path / "file").write_text("")
    check = machine.writable("runs", tmp_path / "file" / "runs", "go elsewhere")
    assert (check.state, check.advice) == ("act", "go elsewhere") and "Not a directory" in check.found
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage(GIB // 2))
    assert machine.writable("runs", tmp_path, "x").found.endswith("0.5 GiB free")


def test_missing_and_old_packages_are_named(monkeypatch):
    asked = ["numpy>=1.26", "rich>=99; python_version > '3'", 'no-such-xyz>=1; extra == "train"', 'ruff>=99; extra == "dev"']
    monkeypatch.setattr(installation, "requires", lambda _: asked)
    check = installation.packages()
    assert check.state == "act" and check.found.startswith("rich ") and "older than 99; no-such-xyz is missing" in check.found
    assert installation._numbers("2.13.0+cpu") == (2, 13, 0) > (2, 9)


def test_torch_that_is_absent_or_broken(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(installation.importlib, "import_module", fail)
    assert (installation.torch_build().found, machine.accelerator()) == ("not installed", None)

    def broken(name):
        raise ImportError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(installation.importlib, "import_module", broken)
    assert "libcudart" in installation.torch_build().found


def test_the_doctor_on_this_machine(capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["doctor", "--json", "--runs", str(tmp_path)])
    checks = json.loads(capsys.readouterr().out)
    assert {check["what"] for check in checks} >= {"python", "packages", "torch", "cores", "cpu formats", "runs"}
    assert (end.value.code or 0) == any(check["state"] == "act" for check in checks)
    assert all(check["advice"] for check in checks if check["state"] != "ok")
