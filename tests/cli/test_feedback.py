"""`plaudit feedback`: what is refused before anything is served, and what the settings come to."""

from __future__ import annotations

import socket

import pytest

from plaudit.cli import main as cli
from plaudit.cli.feedback import settings
from plaudit.store import Store


def refused(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main(["feedback", *words])
    err = capsys.readouterr().err
    assert end.value.code == 2 and "Traceback" not in err
    return err


def test_what_cannot_be_served_is_one_sentence(capsys, tmp_path):
    assert "no folder" in refused(capsys, "--project", str(tmp_path / "nothing"))
    assert "URL#MODEL" in refused(capsys, "--project", str(tmp_path), "--model", "http://gpt")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "--port" in refused(capsys, "--project", str(tmp_path), "--port", str(taken.getsockname()[1]))
    assert "--port" in refused(capsys, "--project", str(tmp_path), "--host", "192.0.2.1", "--port", "0")
    (tmp_path / "plaudit.yaml").write_text("store: [")
    assert "YAML" in refused(capsys, "--project", str(tmp_path))


def test_a_store_that_is_written_by_another_process_or_damaged_is_one_sentence(capsys, tmp_path):
    (tmp_path / "broken.sqlite").write_bytes(b"no database at all")
    assert "damaged" in refused(capsys, "--project", str(tmp_path / "broken.sqlite"), "--port", "0")


def test_the_store_is_the_projects(tmp_path):
    assert settings(tmp_path, "127.0.0.1", [], 0.2, []).store == tmp_path / "store.sqlite"
    (tmp_path / "plaudit.yaml").write_text("project: shop\nstore: acts.sqlite\n")
    found = settings(tmp_path, "127.0.0.1", [], 0.2, [])
    assert found.store == tmp_path / "acts.sqlite" and found.runs == tmp_path / "runs"
    with Store(tmp_path / "other.sqlite"):
        pass
    assert settings(tmp_path / "other.sqlite", "127.0.0.1", [], 0.2, []).store == tmp_path / "other.sqlite"


@pytest.mark.parametrize(
    ("host", "names", "local", "hosts"),
    [
        ("127.0.0.1", [], True, {"127.0.0.1", "localhost"}),
        ("::1", [], True, {"::1"}),
        ("127.0.0.1", ["judge.example"], False, {"judge.example"}),
        ("0.0.0.0", [], False, None),
        ("0.0.0.0", ["judge.example"], False, {"judge.example"}),
    ],
)
def test_only_loopback_is_open_and_names_are_checked(tmp_path, host, names, local, hosts):
    found = settings(tmp_path, host, [], 0.2, names)
    assert found.local is local and (found.hosts is None if hosts is None else hosts <= found.hosts)
