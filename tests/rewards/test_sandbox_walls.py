# ruff: noqa: E501  (programs in one line)
"""What the kernel holds back where Python's own watch is off, with each layer of walls taken away in turn."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from plaudit.rewards.sandbox import running
from sandbox_walls import NO_LANDLOCK, NO_NAMESPACES, UNWATCHED, verdict, without

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces and Landlock are Linux's")

LAYERS = {"all": (), "no namespaces": (NO_NAMESPACES,), "no Landlock": (NO_LANDLOCK,)}
TRY = """
def tried(what, *given):
    try: return what(*given)
    except BaseException as error: return type(error).__name__
"""


@pytest.fixture(params=LAYERS)
def walls(request, monkeypatch):
    """The walls that stand where the watch and one layer do not; skipped where this machine has not the other."""
    without(monkeypatch, UNWATCHED, *LAYERS[request.param])
    up = verdict("").walls
    if "files" not in up:
        pytest.skip(f"this machine lets nobody put up walls: {request.param}")
    yield up
    running.walls_here.cache_clear()


def held(code, wanted):
    """The program's function `f` says what `wanted` says; a test that shows the answer."""
    return verdict(TRY + code, f"assert {wanted}, f()")


def test_files_outside_are_neither_read_nor_written(walls, tmp_path):
    secret, stdlib = tmp_path / "secret", os.path.dirname(os.__file__)
    secret.write_text("token")
    tmp_path.chmod(0o777)
    secret.chmod(0o666)
    code = (
        f"import os\ndef f(): return [tried(lambda: open(p).read()) for p in ({str(secret)!r}, '/etc/passwd', '/proc/self/environ', "
        f"'/proc/{os.getpid()}/environ')] + [tried(open, p, 'a') for p in ({str(secret)!r}, {str(tmp_path / 'new')!r}, "
        f"{stdlib + '/os.py'!r})] + [tried(os.remove, {str(secret)!r}), tried(os.listdir, {str(tmp_path)!r})]"
    )
    found = held(code, "all(one in ('PermissionError', 'FileNotFoundError', 'NotADirectoryError', 'OSError') for one in f())")
    assert found.passed, found
    assert secret.read_text() == "token" and not (tmp_path / "new").exists()


def test_its_environment_is_empty(walls, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "abc")
    found = held("import os\ndef f(): return sorted(os.environ)", "set(f()) <= {'LC_CTYPE', 'TMPDIR'}")
    assert found.passed, found


def test_no_connection_and_no_other_process(walls):
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = (
            f"import os, socket\ndef f(): return [tried(lambda: socket.create_connection(('127.0.0.1', {server.getsockname()[1]}), 1)), "
            f"tried(os.kill, {os.getpid()}, 0), tried(os.kill, os.getppid() or {os.getpid()}, 0)]"
        )
        found = held(code, "f()[0] in ('PermissionError', 'OSError', 'ConnectionRefusedError') and set(f()[1:]) <= "
                           "{'PermissionError', 'ProcessLookupError'}")  # fmt: skip
        assert found.passed, found
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_no_further_process_thread_or_program(walls):
    if "user" not in walls:
        pytest.skip("root has no limit on processes")
    code = (
        "import os, sys, threading\ndef f():\n  forks = []\n  for i in range(50):\n    forks.append(tried(os.fork))\n    if forks[-1] == 0: os._exit(0)\n"
        "  return set(forks), tried(threading.Thread(target=print).start), tried(os.execv, sys.executable, ['python']), os.getuid()"
    )
    found = held(
        code,
        "f()[:2] == ({'BlockingIOError'}, 'RuntimeError') and f()[2] in ('PermissionError', 'FileNotFoundError') and f()[3] != 0",
    )
    assert found.passed, found


def test_memory_file_size_and_open_files_have_limits(walls):
    code = (
        "def f():\n  full = []\n  for i in range(6):\n    full.append(tried(lambda: open(f'part{i}', 'wb').write(b'x' * (9 << 20))))\n"
        "  return full, tried(lambda: open('large', 'wb').write(b'x' * (40 << 20))), tried(lambda: [open('part0') for _ in range(99)]),"
        " tried(bytearray, 10**9)"
    )
    wanted = "f()[1:] in (('OSError', 'OSError', 'MemoryError'), (33554432, 'OSError', 'MemoryError'))"
    disk = " and 'OSError' in f()[0]" if "disk" in walls else ""
    found = held(code, wanted + disk)
    assert found.passed, found


def test_one_program_sees_nothing_of_another(walls):
    from plaudit.rewards.sandbox.running import Exam, SandboxConfig, examined

    code = "import os\nopen('mine', 'w').write('x')\ndef f(): return os.listdir('.')"
    found = examined([Exam(code, "assert f() == ['mine']")] * 3, SandboxConfig(allow_code_execution=True))
    assert all(one.passed for one in found), found


def test_the_tests_themselves_are_behind_the_walls(walls, tmp_path):
    """Tests come from data files of others."""
    tests = f"try:\n  open({str(tmp_path / 'new')!r}, 'w')\nexcept OSError: pass\nelse: assert False\nimport os\nassert set(os.environ) <= {{'LC_CTYPE', 'TMPDIR'}}"
    tmp_path.chmod(0o777)
    assert verdict("", tests).passed and not (tmp_path / "new").exists()


def test_a_program_that_left_the_watch_behind_ends_with_its_examiner(walls, tmp_path):
    """It ignores signals, sits still and closes the line: it is ended, and what it holds with it."""
    code = "import os, signal, time\nfor number in range(1, 32):\n  try: signal.signal(number, signal.SIG_IGN)\n  except OSError: pass\n"
    code += "def f():\n  os.closerange(3, 64)\n  while True: time.sleep(1)"
    found = verdict(code, "f()")
    assert found.reason == "error" and "ended" in found.detail


def test_what_is_missing_is_told(monkeypatch):
    without(monkeypatch, NO_NAMESPACES, NO_LANDLOCK)
    told = running.warning()
    assert "it can reach the network;" in told and "files that you can" in told and "signal your other processes" in told
    running.walls_here.cache_clear()
    without(monkeypatch, NO_NAMESPACES)
    if "TCP" in verdict("").walls:
        assert "though not over TCP" in running.warning() and "files that you can" not in running.warning()
    running.walls_here.cache_clear()


def test_a_sandbox_that_does_not_start_is_no_failed_program(monkeypatch):
    from plaudit.schema import UserError

    monkeypatch.setattr(running, "START", "raise RuntimeError('no such thing')")
    with pytest.raises(UserError, match=r"(?s)the sandbox did not start.*no such thing"):
        verdict("")
