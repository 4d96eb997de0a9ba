"""What the shell sees: exit codes, one sentence for a mistake of the user, a traceback for a bug of ours."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

from plaudit.cli import main as cli
from plaudit.cli.config import FLAGS, OTHERS, sections_of
from plaudit.cli.main import app
from plaudit.config import REQUIRED, load, options
from plaudit.data.options import ReadConfig
from plaudit.registry import names
from plaudit.schema import Sampling, UserError

VERBS = (
    *("demo", "init", "run", "estimate", "train", "branch", "tune", "find-lr", "generate"),
    *("evaluate", "card", "preflight", "report", "classify", "chat", "feedback", "judge", "merge"),
    *("runs", "config", "migrate", "bench", "doctor", "data"),
)


def run(capsys, *words):
    """Run the command line in this process: (exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def failing(monkeypatch, error):
    """Let `plaudit runs` raise `error`, as a verb would."""

    def fail(*_):
        raise error

    monkeypatch.setattr("plaudit.cli.runs.listed", fail)


def test_help_names_every_verb(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert [verb for verb in VERBS if f" {verb} " not in out] == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(capsys, verb):
    code, out, _ = run(capsys, verb, "--help")
    assert code == 0 and f"Usage: plaudit {verb} " in out


@pytest.mark.parametrize("verb", ["train", "config"])
def test_the_help_names_every_algorithm_without_loading_one(verb):
    code = (
        "import sys\nfrom plaudit.cli.main import main\n"
        f"try:\n    main([{verb!r}, '--help'])\n"
        "finally:\n    print('LOADED', 'torch' in sys.modules, 'plaudit.training' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "LOADED False False" in done.stdout, done.stderr
    listed = " ".join(done.stdout.split("Algorithms:")[1].split("LOADED")[0].split())
    assert listed == f"{', '.join(names('algorithms'))}."


def test_config_says_what_there_is_where_a_name_is_missing_or_wrong(capsys):
    told = run(capsys, "config")
    assert [name for name in names("algorithms") if name not in told[1] + told[2]] == []
    code, _, err = run(capsys, "config", "genrate")
    assert code == 2 and "did you mean generate?" in err and err.count("\n") == 1
    assert [name for name in (*names("algorithms"), "demo", "chat") if name not in err] == []


def test_a_line_for_each_algorithm(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(capsys, "train", "--list")
    rows = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert code == 0 and sorted(rows) == sorted(names("algorithms"))
    assert rows["kto"].startswith("eats labels. KTO: single answers with a thumb up or down; no pairs.")
    assert [name for name, said in rows.items() if len(said) < 40] == []


def test_version(capsys):
    assert run(capsys, "--version")[:2] == (0, "plaudit 0.1.0\n")


def test_no_such_verb_and_no_such_option_exit_2(capsys):
    assert run(capsys, "tarin")[0] == 2
    assert run(capsys, "runs", "--jsno")[0] == 2


@pytest.mark.parametrize("verb", [["demo"], ["train", "ppo"]])
def test_other_places_are_refused_with_a_sentence(capsys, verb):
    code, out, err = run(capsys, *verb, "--place", "ray")
    assert (code, out) == (2, "")
    assert err == "plaudit: place 'ray' is not there; it can be local\n"


def test_a_mistake_of_the_user_is_one_sentence_and_no_traceback(capsys, monkeypatch):
    failing(monkeypatch, UserError("a.yaml, line 3: there is no option lr"))
    assert run(capsys, "runs") == (2, "", "plaudit: a.yaml, line 3: there is no option lr\n")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.ENOTDIR])
def test_a_path_that_cannot_be_used_is_one_sentence(capsys, monkeypatch, number):
    failing(monkeypatch, OSError(number, os.strerror(number), "runs/x"))
    code, _, err = run(capsys, "runs")
    assert code == 2 and err.startswith(f"plaudit: cannot use runs/x: {os.strerror(number)}; ") and err.count("\n") == 1


def test_a_full_disk_as_safetensors_reports_it(capsys, monkeypatch):
    failing(monkeypatch, RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"))
    code, _, err = run(capsys, "runs")
    assert code == 2 and "the disk is full" in err


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), OSError(errno.EIO, "ours")])
def test_a_bug_of_ours_is_not_dressed_up(monkeypatch, error):
    failing(monkeypatch, error)
    with pytest.raises(type(error), match="ours"):
        cli.main(["runs"])


def test_control_c_exits_130_with_one_line():
    """A real SIGINT while a verb works, in a process of its own."""
    code = (
        "import signal, plaudit.cli.runs as runs, plaudit.cli.main as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a parent in the background has it ignored
        "runs.listed = lambda folder: signal.raise_signal(signal.SIGINT)\n"
        "cli.main(['runs'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGINT, "", "Stopped.\n")


def test_an_unwritable_folder_for_real(tmp_path):
    (tmp_path / "runs").write_text("a file")
    done = subprocess.run([sys.executable, "-m", "plaudit", "runs"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "plaudit: runs is a file; name the folder that holds the runs\n")


def test_config_prints_a_file_that_loads_back(capsys, tmp_path):
    code, out, _ = run(capsys, "config", "generate")
    (tmp_path / "g.yaml").write_text(out)
    assert code == 0 and load([Sampling, ReadConfig], tmp_path / "g.yaml")[Sampling] == Sampling()
    assert yaml.safe_load(out)["max_new_tokens"] == 128
    described = json.loads(run(capsys, "config", "generate", "--json")[1])["stop_token_ids"]
    assert described["allowed"] == "a list, each an integer" and described["help"].startswith("Ids that end an answer")


@pytest.mark.parametrize("verb", OTHERS)
def test_every_verb_with_options_prints_a_file_that_loads_back(capsys, tmp_path, verb):
    code, out, err = run(capsys, "config", verb)
    assert code == 0, err
    sections, defaults = sections_of(verb)
    missing = [option for option in options(sections, defaults).values() if option.default is REQUIRED]
    stands = {"verb": "sft", "search": {"learning_rate": [1e-5]}, "prompts": "p", "completions": "c", "annotators": "people"}
    given = "".join(f"{option.name}: {json.dumps(stands[option.name])}\n" for option in missing)
    (tmp_path / "v.yaml").write_text(out + given)
    found = load(sections, tmp_path / "v.yaml").flat()
    assert set(found) == set(options(sections)) and all(f"# {option.name}:   # required" in out for option in missing)


def test_config_names_what_is_found_elsewhere(capsys):
    for verb in FLAGS:
        assert f"`plaudit {verb} --help` lists its flags" in run(capsys, "config", verb)[2]
    assert all("those of its algorithm" in run(capsys, "config", verb)[2] for verb in ("train", "estimate", "find-lr"))
    listed = {command.name for command in app.registered_commands} | {"data"}
    assert listed - set(OTHERS) - set(FLAGS) == {"train", "estimate", "find-lr"}


def test_generate_without_a_prompt_says_what_to_give(capsys):
    code, _, err = run(capsys, "generate", "tiny")
    assert code == 2 and "give --prompt TEXT or --prompts FILE" in err
    code, _, err = run(capsys, "generate", "tiny", "-p", "Hi", "temprature=0")
    assert code == 2 and "did you mean temperature?" in err
