"""Logs of others, files that are broken, and the command: what is read, what is said, and with which exit code."""

from __future__ import annotations

import json

import pytest

from plaudit.cli.doctor import sparkline
from plaudit.cli.main import main
from plaudit.evaluation.doctor import look

FIELDS = ["rule", "status", "value", "interval", "threshold", "source", "causes", "next"]


def doctor(*words):
    """Exit code of `plaudit doctor ...`."""
    with pytest.raises(SystemExit) as end:
        main(["doctor", *map(str, words)])
    return end.value.code or 0


def statuses(capsys, *words):
    """Rule -> status, as --json prints them."""
    code = doctor(*words, "--json")
    found = json.loads(capsys.readouterr().out)
    assert all(list(one) == FIELDS for one in found)
    assert code == any(one["status"] == "act" for one in found)
    return {one["rule"]: one["status"] for one in found}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


GRPO = {"reward": 0.5, "reward_std": 0.1, "kl": 0.01, "frac_reward_zero_std": 0.9, "completions/mean_length": 40.0}


def test_trl_by_the_newest_checkpoint(folder, capsys):
    for step in (20, 100):
        (folder / f"run/checkpoint-{step}").mkdir(parents=True)
        rows = [{"step": i + 1, **GRPO, "completions/clipped_ratio": 0.0, "loss": 0.1, "grad_norm": 1.0} for i in range(step)]
        rows += [{"step": step, "eval_loss": 0.3, "train_runtime": 3.0}]
        (folder / f"run/checkpoint-{step}/trainer_state.json").write_text(
            json.dumps({"log_history": rows, "best_metric": None})
        )
    evidence = look(folder / "run")
    assert (evidence.origin, len(evidence.series["reward"])) == ("trl", 100)
    found = statuses(capsys, "run")
    assert found["no_signal"] == "act" and found["kl_budget"] == found["endings"] == found["numbers"] == "ok"
    assert found["value_function"] == found["over_optimisation"] == "unknown"


def test_verl_from_its_file_and_from_the_console(folder):
    figures = {
        "actor/ppo_kl": 0.2,
        "critic/score/mean": 0.4,
        "response_length/clip_ratio": 0.3,
        "val-core/gsm8k/reward/mean@1": 0.5,
    }
    (folder / "verl.jsonl").write_text("".join(json.dumps({"step": i, "data": figures}) + "\n" for i in range(1, 6)))
    shown = " - ".join(f"{name}:{value}" for name, value in figures.items())
    (folder / "verl.log").write_text("".join(f"(TaskRunner pid=7) step:{i} - {shown}\nnoise {{\n" for i in range(1, 6)))
    one, two = look(folder / "verl.jsonl"), look(folder / "verl.log")
    assert one.origin == two.origin == "verl" and one.series == two.series
    assert one.series["approx_kl"][-1] == (5.0, 0.2) and one.series["eval_reward"][0] == (1.0, 0.5)


def test_openrlhf_from_its_console_and_from_an_export_with_prefixes(folder):
    figures = {"policy_loss": 0.1, "reward": 0.4, "kl": 0.02, "response_length": 50.0, "ppo_kl": 0.3, "vllm_kl": 0.001}
    (folder / "train.out").write_text("".join(f"INFO Global step {i}: {figures}\n" for i in range(1, 6)))
    rows = [{"_step": 3 * i, "train/global_step": i} | {f"train/{name}": v for name, v in figures.items()} for i in range(1, 6)]
    (folder / "export.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    one, two = look(folder / "train.out"), look(folder / "export.jsonl")
    assert one.origin == two.origin == "openrlhf"
    assert [p[1] for p in one.series["kl_token"]] == [p[1] for p in two.series["kl_token"]] == [0.02] * 5


def test_nan_as_json_has_it_is_seen(folder, capsys):
    (folder / "log.jsonl").write_text(
        '{"step": 1, "loss": NaN, "reward": 1}\n{"step": 2, "loss": "Infinity", "reward": 1}\n{"st'
    )
    assert statuses(capsys, "log.jsonl")["numbers"] == "act"


BROKEN = {
    "nothing": None,
    "empty.jsonl": b"",
    "empty-folder/x": b"",
    "binary.log": bytes(range(256)),
    "list.json": b"[1, 2, 3]",
    "deep.json": b"[" * 100_000,
    "other.log": b"epoch 3 loss 0.2\n",
    "trainer_state.json": b'{"log_history": []}',
    "run/metrics.jsonl": b"",
    "torn/metrics.jsonl": b'{"step": 1, "loss": 1}\nnonsense\n{"step": 2, "loss": 1}\n',
    "lists/metrics.jsonl": b"[1]\n[2]\n",
    "short/evaluations.jsonl": b'{"step": 1, "reward": [1, 2], "length": [1]}\n',
    "words/evaluations.jsonl": b'{"step": 1, "reward": ["a"], "length": [1]}\n',
    "lacks/best_of_n.jsonl": b'{"n": 1, "proxy": 1}\n',
    "text/tasks.jsonl": b'{"task": "a", "before": "x", "after": 1}\n',
    "model/reward.json": b"{}",
    "damaged.sqlite": b"SQLite format 3\0" + b"x" * 100,
    "columns.jsonl": b'{"colour": "red"}\n',
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_one_sentence_and_exit_code_2(folder, capsys, name):
    path = folder / name
    if BROKEN[name] is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(BROKEN[name])
    place = path if path.parent == folder else path.parent
    assert doctor(place) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith("plaudit: ") and out.err.count("\n") == 1 and "Traceback" not in out.err


def test_a_rule_that_is_not_there_is_named_with_its_neighbour(folder, capsys):
    (folder / "log.jsonl").write_text('{"step": 1, "loss": 1}\n')
    assert doctor("log.jsonl", "--rule", "diversty") == 2 and "did you mean diversity" in capsys.readouterr().err
    (folder / "mine.py").write_text("RULE = 3\n")
    assert doctor("log.jsonl", "--rule", "mine.py:RULE") == 2 and "is no rule" in capsys.readouterr().err


OWN = """
from plaudit.evaluation.doctor import Rule
from plaudit.evaluation.doctor.finding import Reading

RULE = Rule("always", 99, "Asks nothing.", "none", "me", ("bad luck",), "nothing", lambda evidence: Reading("act", 7.0))
"""


def test_a_rule_of_ones_own_is_one_file(folder, capsys):
    (folder / "log.jsonl").write_text('{"step": 1, "loss": 1}\n')
    (folder / "own.py").write_text(OWN)
    assert statuses(capsys, "log.jsonl", "--rule", "own.py:RULE", "--rule", "numbers") == {"numbers": "ok", "always": "act"}


def test_the_table_says_what_to_do_and_nothing_steers_the_terminal(folder, capsys):
    rows = [{"annotator": "\x1b[2Jmallory[red]", "item": f"i{i}", "label": "first"} for i in range(60)]
    rows += [{"annotator": who, "item": f"i{i}", "label": ("first", "second")[i % 2]} for i in range(60) for who in "abc"]
    (folder / "judged.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    doctor("judged.jsonl", "--page", "page.html")
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out and "mallory[red]" in out and "next: " in out
    page = (folder / "page.html").read_text()
    assert "\x1b" not in page and "annotators" in page and "http" not in page.replace("http-equiv", "")


def test_of_data_only_rules_about_data_are_listed_and_the_last_sentence_says_what_comes_first(folder, capsys):
    rows = [json.dumps({"prompt": f"Where is {i}?", "completion": f"Here is {i}."}) for i in range(40)]
    (folder / "my train.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "test.jsonl").write_text("\n".join(rows[:4]) + "\n")
    assert doctor("my train.jsonl", "--page", "page.html") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "length_preference: " in out and "kl_budget" not in out and out.endswith("says what it serves.")
    assert "kl_budget" not in (folder / "page.html").read_text()
    assert doctor("my train.jsonl", "--held-out", "test.jsonl") == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "Mend first: duplicates." in out and "plaudit data split all.jsonl" in out
    (folder / "my train.jsonl").write_text("\n".join([*rows, *rows[:8]]) + "\n")
    doctor("my train.jsonl")
    assert "plaudit data check 'my train.jsonl'" in " ".join(capsys.readouterr().out.split())


def test_the_page_holds_a_plot_and_escapes(folder):
    (folder / "<b>log.jsonl").write_text(
        "".join(json.dumps({"step": i, "loss": 1.0, "grad_norm": 2.0}) + "\n" for i in range(9))
    )
    assert doctor("<b>log.jsonl", "--page", "page.html") == 0
    page = (folder / "page.html").read_text()
    assert "<svg" in page and "<b>log" not in page and "&lt;b&gt;log" in page


def test_sparklines():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█" and sparkline([3, float("nan"), 3]) == "▁ ▁"
    assert len(sparkline(range(1000))) == 16
