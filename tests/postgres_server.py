"""A PostgreSQL server of Debian's package, started without privileges on a port of its own, for the time of the tests."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PLACES = (*(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), os.environ.get("PATH", ""))


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is; None where it is not installed."""
    return shutil.which(name, path=os.pathsep.join(PLACES))


def unavailable() -> str:
    """Why there is no server to test with; '' where there is one."""
    try:
        import pg8000  # noqa: F401
    except ModuleNotFoundError:
        return "the package pg8000 is not installed: pip install 'plaudit[postgresql]'"
    if program("initdb") is None or program("postgres") is None:
        return "PostgreSQL is not installed: apt-get install postgresql"
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and setpriv is not there"
    return ""


@contextmanager
def serving() -> Iterator[str]:
    """The address of a fresh server, without a database name at its end."""
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="plaudit-pg-"))
    if as_nobody:
        os.chown(folder, 65534, 65534)
    data, quiet = folder / "data", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = ("fsync=off", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "max_connections=50")
    options = [word for setting in settings for word in ("-c", setting)]
    try:
        made = [
            *as_nobody,
            program("initdb"),
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-N",
            "--no-locale",
            "-E",
            "UTF8",
        ]
        subprocess.run(made, check=True, cwd=folder, **quiet)
        server = subprocess.Popen(
            [*as_nobody, program("postgres"), "-D", str(data), "-p", str(port), *options], cwd=folder, **quiet
        )
        try:
            for _ in range(1000):
                with socket.socket() as there:
                    if there.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if server.poll() is not None:
                    raise RuntimeError("the server ended at its start")
                server_wait(0.01)
            yield f"postgresql://postgres@127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def server_wait(seconds: float) -> None:
    """A pause while the server starts."""
    import threading

    threading.Event().wait(seconds)


def database(server: str, name: str) -> str:
    """The address of a new, empty database."""
    from pg8000.native import Connection

    port = int(server.rpartition(":")[2])
    for _ in range(500):
        try:
            connection = Connection("postgres", host="127.0.0.1", port=port, database="postgres")
            break
        except Exception:  # it listens before it lets anybody in
            server_wait(0.01)
    connection.run(f'CREATE DATABASE "{name}"')
    connection.close()
    return f"{server}/{name}"
