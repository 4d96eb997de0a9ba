"""`plaudit generate` and `plaudit evaluate` with the tiny model."""

from __future__ import annotations

import json

import pytest

from plaudit.cli.main import main
from plaudit.engines.opening import model_of
from plaudit.evaluation.against import compared

ROWS = [{"prompt": "Where is order 1182?", "topic": "order"}, {"prompt": [{"role": "user", "content": "Hello"}], "topic": "hi"}]


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def test_generate_answers_prompts_of_the_shell_and_of_a_file(capsys, tmp_path, prompts):
    words = ["generate", "tiny", "-p", "Hi", "--prompts", prompts, "-n", 2, "max_new_tokens=3", "seed=5"]
    code, out, err = run(capsys, *words, "--json", "--output", tmp_path / "new" / "answers.jsonl")
    answers = json.loads(out)
    assert (code, len(answers)) == (0, 6)
    assert "Traceback" not in err
    assert all(len(a["tokens"]) == len(a["logprobs"]) <= 3 and a["sampling"]["seed"] == 5 for a in answers)
    lines = (tmp_path / "new" / "answers.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == answers
    code, out, _ = run(capsys, *words)
    assert code == 0 and out.index("Hi") < out.index("Where is order 1182?") < out.index("Hello")


@pytest.mark.parametrize("verb", ["generate", "evaluate"])
def test_prompts_may_stand_under_another_name_in_another_type_of_file(capsys, tmp_path, verb):
    path = tmp_path / "questions.csv"
    path.write_text("question,topic\nWhere is it?,order\nHello,hi\n")
    words = {"generate": ["--prompts", path], "evaluate": [path, f"reward_funcs=[{tmp_path}/rules.py:half]"]}[verb]
    (tmp_path / "rules.py").write_text("def half(completions, **columns):\n    return [0.5] * len(completions)\n")
    name = "dataset_columns={prompt: question}"
    code, out, err = run(capsys, verb, "tiny", *words, name, "max_new_tokens=3", "--json")
    found = json.loads(out)
    assert code == 0, err
    assert (len(found) if verb == "generate" else found["prompts"]) == 2


def test_a_run_is_named_by_its_folder_or_its_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "seven" / "model").mkdir(parents=True)
    assert model_of("seven") == model_of("runs/seven") == "runs/seven/model"
    (tmp_path / "runs" / "demo" / "ppo" / "model").mkdir(parents=True)
    assert model_of("demo") == "runs/demo/ppo/model"
    assert model_of("tiny") == "tiny"


def test_evaluate_compares_two_models_on_the_same_prompts(capsys, tmp_path, prompts):
    (tmp_path / "rules.py").write_text(
        "def known(prompts, completions, completion_ids, topic):\n"
        "    assert topic == ['order', 'order', 'hi', 'hi'] and isinstance(prompts[2], list)\n"
        "    assert isinstance(completions[0], str) and completions[3][0]['role'] == 'assistant'\n"
        "    return [float(sum(ids)) for ids in completion_ids]\n"
    )
    words = ["evaluate", "tiny", prompts, f"reward_funcs=[{tmp_path}/rules.py:known]", "-n", 2, "max_new_tokens=3", "--json"]
    code, out, _ = run(capsys, *words, "--against", "tiny:1")
    result = json.loads(out)
    assert code == 0 and (result["prompts"], result["model"]["answers"]) == (2, 4)
    low, high = result["win_rate_ci"]
    assert low <= result["win_rate"] <= high and result["model"]["reward"] != result["against"]["reward"]
    assert json.loads(run(capsys, *words, "--against", "tiny")[1])["win_rate"] == 0.5, "a model ties with itself"


def test_prompts_that_no_reward_applies_to_are_counted_and_not_compared():
    assert compared([[1.0, 3.0], [None, 1.0]], [[2.0, 2.0], [0.0, 0.0]]) == {
        "compared_prompts": 1,
        "unscored_prompts": 1,
        "win_rate": 0.5,
        "win_rate_ci": [0.5, 0.5],
    }
    assert compared([[None]], [[1.0]]) == {"compared_prompts": 0, "unscored_prompts": 1}


def test_a_reward_that_raises_ends_in_one_sentence(capsys, tmp_path, prompts):
    (tmp_path / "bad.py").write_text("def bad(**_):\n    return 1 / 0\n")
    code, _, err = run(capsys, "evaluate", "tiny", prompts, f"reward_funcs=[{tmp_path}/bad.py:bad]", "max_new_tokens=2")
    assert (
        code == 2
        and "ZeroDivisionError" in err
        and [line for line in err.splitlines() if line.startswith("plaudit: ")] == err.splitlines()[-1:]
    )
