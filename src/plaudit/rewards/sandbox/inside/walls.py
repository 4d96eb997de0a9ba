"""The walls, each put up where this machine lets us: rlimits, another user, namespaces, a root of its own, Landlock.

Everything here is the kernel's own interface (man 7 namespaces, landlock, capabilities; man 2 pivot_root), called through
ctypes, since Python 3.11 has none of it. What cannot be put up is left out and named; nothing here fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
import sys
import sysconfig
from pathlib import Path
from typing import Any

NOBODY = 65534
NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MS_NOSUID, MS_NODEV, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2, 4, 2
SET_DUMPABLE, SET_NO_NEW_PRIVS, SET_PDEATHSIG = 4, 38, 1
MOUNT_SETATTR, LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 442, 444, 445, 446
INNER = "/plaudit-program"
"""The program's folder where it has a root of its own."""
READ = 1 << 2 | 1 << 3
FILES = ("/dev/null", "/dev/urandom", "/etc/ld.so.cache")

LINUX = sys.platform == "linux"
libc: Any = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *values: Any) -> int:
    """A function of the C library. OSError where it fails or is not there."""
    function = getattr(libc, name, None)
    found = -1 if function is None else int(function(*values))
    if found < 0:
        raise OSError(ctypes.get_errno(), name)
    return found


def _syscall(*values: int | ctypes.Structure | bytes | None) -> int:
    return _call("syscall", *(ctypes.c_long(one) if isinstance(one, int) else one for one in values))


def readable() -> tuple[str, ...]:
    """Folders that Python and its libraries are read from, as named and as they are."""
    paths = sysconfig.get_paths()
    named = [
        paths["stdlib"],
        paths["platstdlib"],
        os.path.join(sys.base_prefix, "lib"),
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
    ]
    every = dict.fromkeys(path for one in [*named, "/usr/local/lib"] for path in (one, os.path.realpath(one)))
    there = sorted(one for one in every if os.path.isdir(one))
    return tuple(one for one in there if not any(one.startswith(other + os.sep) for other in there))


def put_up(own: str, disk: int) -> tuple[list[str], str]:
    """Every wall around this process and its children; the names of those that stand, and the program's folder.

    A process of root's leaves root behind, so that file permissions count again.
    """
    folders, up = readable(), []
    root = LINUX and os.geteuid() == 0
    if LINUX and _separated(root):
        up += ["processes", "network"]
        if inner := _new_root(own, folders, disk):
            up += ["files", "disk"]
            own = inner
    if os.geteuid() == 0 and (("files" in up) or _others_can_read(folders)):
        _leave_root(own)
    if LINUX:
        _drop_capabilities()
        _call("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _call("prctl", SET_DUMPABLE, 0, 0, 0, 0)  # no other process may trace this one, or look into its memory
        handled = confine(own, folders, whole="files" in up)
        up += [one for one in handled if one not in up]
    if os.geteuid() != 0:
        up.append("user")
    os.chdir(own)
    return up, own


def limit(seconds: int, memory: int, disk: int) -> list[str]:
    """rlimits on CPU time in seconds, on memory and on files in bytes; those that the system took."""
    wanted = {
        "time": (resource.RLIMIT_CPU, seconds),
        "memory": (resource.RLIMIT_AS, memory),
        "file size": (resource.RLIMIT_FSIZE, disk),
        "open files": (resource.RLIMIT_NOFILE, 64),
        "core": (resource.RLIMIT_CORE, 0),
    }
    up = []
    for name, (which, most) in wanted.items():
        try:
            hard = resource.getrlimit(which)[1]
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(which, (most, most))
            up.append(name)
        except (OSError, ValueError):
            continue
    return [one for one in up if one != "memory" or sys.platform != "darwin"]  # macOS takes it and does not keep to it


def alone() -> None:
    """No further process or thread from here on."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def leave_with_parent() -> None:
    if LINUX:
        _call("prctl", SET_PDEATHSIG, 9, 0, 0, 0)


def _separated(root: bool) -> bool:
    """Namespaces of our own: no network, no processes of others to see, mounts that nobody else sees."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", NEWNS | NEWNET | NEWPID | NEWIPC | NEWUTS | (0 if root else NEWUSER))
        if not root:
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        _call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)
    except OSError:
        return False
    return True


def _new_root(own: str, folders: tuple[str, ...], disk: int) -> str:
    """A root with Python's folders, read only, and an empty folder in memory of `disk` bytes; "" where that cannot be."""
    try:
        _call("mount", b"none", own.encode(), b"tmpfs", MS_NOSUID | MS_NODEV, f"size={disk},nr_inodes=4096,mode=755".encode())
        for one in (*folders, *(name for name in FILES if os.path.exists(name))):
            inner = Path(own + one)
            inner.parent.mkdir(parents=True, exist_ok=True)
            inner.mkdir() if os.path.isdir(one) else inner.touch()
            _call("mount", one.encode(), str(inner).encode(), None, MS_BIND | MS_REC, None)
            if os.path.isdir(one):
                _read_only(str(inner))
        Path(own + INNER).mkdir()
        os.chdir(own)
        _call("pivot_root", b".", b".")
        _call("umount2", b".", MNT_DETACH)
        os.chdir(INNER)
    except OSError:
        with contextlib.suppress(OSError):
            _call("umount2", own.encode(), MNT_DETACH)
        return ""
    return INNER


def _read_only(path: str) -> None:
    """The mount and those below it (mount_setattr: what is set already, and locked, stays)."""
    _syscall(MOUNT_SETATTR, -100, path.encode(), 0x8000, struct.pack("QQQQ", 1 | 2, 0, 0, 0), 32)


def _others_can_read(folders: tuple[str, ...]) -> bool:
    paths = {parent for one in folders for parent in (Path(one), *Path(one).parents)}
    return all(path.stat().st_mode & 0o005 == 0o005 for path in paths)


def _leave_root(own: str) -> None:
    """Become nobody, who gets the program's folder; where this root has nobody to become (some containers), all stays."""
    try:
        os.chown(own, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    except OSError:
        with contextlib.suppress(OSError):
            os.chown(own, 0, 0)


def _drop_capabilities() -> None:
    header = struct.pack("II", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    try:
        _call("capset", header, struct.pack("6I", *(0,) * 6))
    except OSError:
        return


def confine(own: str, folders: tuple[str, ...], whole: bool) -> list[str]:
    """Landlock: files but those named, TCP, and signals to processes outside, as far as this kernel knows it.

    `whole`: the root is our own already, and may be read. Called a second time it adds an inner domain.
    """
    try:
        version = _syscall(LANDLOCK_CREATE, None, 0, 1)
        rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
        network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
        attributes = struct.pack("QQQ", rights, network, scope)[: 8 if version < 4 else 16 if version < 6 else 24]
        rules = _syscall(LANDLOCK_CREATE, attributes, len(attributes), 0)
        allowed = [("/", READ)] if whole else [(one, READ) for one in folders] + [(one, 1 << 2) for one in FILES]
        for path, access in [*allowed, (own, rights & ~1)]:  # nothing may be executed
            _allow(rules, path, access)
        _syscall(LANDLOCK_RESTRICT, rules, 0)
        os.close(rules)
    except OSError:
        return []
    return ["files", *(["TCP"] if network else []), *(["processes"] if scope else [])]


def _allow(rules: int, path: str, access: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    _syscall(LANDLOCK_ADD, rules, 1, struct.pack("=Qi", access, place), 0)
    os.close(place)
