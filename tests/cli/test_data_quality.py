"""`plaudit data quality`: files, stores and projects; figures, JSON, and mistakes."""

from __future__ import annotations

import json

import pytest

from plaudit.cli import main as cli
from plaudit.data.readers import write_jsonl
from plaudit.judgements.pairwise import assignments
from plaudit.judgements.panel import Panel
from plaudit.schema import Completion, Prompt
from plaudit.store import Store

PROMPTS = [Prompt(text=f"Where is order {i}?") for i in range(40)]
SAID = [Completion(p.id, f"answer {j} to {p.text}", (), (j,), (0.0,), "stop", index=j) for p in PROMPTS for j in range(2)]
GOLD = {one.id: float(one.index) for one in SAID}


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        cli.main(("data", "quality", *map(str, words)))
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


@pytest.fixture
def project(tmp_path):
    (tmp_path / "plaudit.yaml").write_text("project: shop\nstore: people.sqlite\nstages: {}\n")
    with Store(tmp_path / "people.sqlite") as store:
        store.add_prompts(PROMPTS)
        store.add_completions(SAID)
        store.add_feedback(Panel(seed=1).judge_all(assignments(SAID, per_prompt=1), GOLD, votes=3))
    return tmp_path


def test_a_file_of_several_annotators(capsys, tmp_path):
    path = tmp_path / "votes.jsonl"
    write_jsonl(path, ({"id": f"\x1b[31m{i}", "annotators": [1, 1 + i % 2, 0]} for i in range(60)))
    code, out, err = run(capsys, path)
    assert code == 0 and not err and "60 items, 60 judged by two or more of 3 annotators" in out
    assert "agreement 0.167" in out and "\x1b" not in out  # of three pairs each one agrees, on every other item
    code, out, _ = run(capsys, path, "--json", "--seed", 1)
    found = json.loads(out)
    assert code == 0 and found["questions"][0]["percent"]["mean"] == pytest.approx(1 / 6)
    assert len(found["annotators"]) == 3 and "ceilings" in found and "errors" in found


def test_a_store_a_project_and_what_helps(capsys, project):
    code, out, err = run(capsys, project)
    assert code == 0 and not err and "120 acts (120 simulated)" in out and "reward-model ceiling: at most" in out
    assert run(capsys, project / "people.sqlite")[1] == out
    scores, groups = project / "scores.jsonl", project / "groups.json"
    write_jsonl(scores, ({"completion_id": name, "score": score} for name, score in GOLD.items()))
    groups.write_text(
        json.dumps({"annotators": {"simulated-ada": {"language": "en"}}, "serves": {"language": {"en": 1, "zh": 1}}})
    )
    code, out, _ = run(capsys, project, "--scores", scores, "--groups", groups)
    assert code == 0 and "with a reward model's scores" in out and "nobody of: zh" in out and "coverage" in out


@pytest.mark.parametrize(
    ("content", "words", "says"),
    [
        ('{"prompt": "a", "completion": "b"}', [], "needs a column `annotators`"),
        ('{"annotators": [1, 2]}', ["--level", "odd"], "is not a level"),
        ('{"annotators": [1, 2]}', ["--scores", "FILE"], "needs a store or project"),
        ('{"annotators": [1, 2]}', ["--groups", "FILE"], "must be an object with annotators and serves"),
        ('{"annotators": [1, 2]}', ["--groups", "absent.json"], "cannot be read as JSON"),
        ('{"annotators": [1, 2]}', ["dataset_column.item=x"], "dataset_columns"),
    ],
)
def test_mistakes_end_with_one_sentence(capsys, tmp_path, content, words, says):
    path, scores = tmp_path / "file.jsonl", tmp_path / "scores.jsonl"
    path.write_text(content + "\n")
    scores.write_text('{"completion_id": "a", "score": 1}\n')
    code, out, err = run(capsys, path, *(str(scores) if word == "FILE" else word for word in words))
    assert code == 2 and not out and says in err and "Traceback" not in err


def test_what_is_not_there_yet_is_said(capsys, tmp_path):
    assert "No such file" in run(capsys, tmp_path / "absent.jsonl")[2] or run(capsys, tmp_path / "absent.jsonl")[0] == 2
    (tmp_path / "plaudit.yaml").write_text("project: shop\n")
    code, _, err = run(capsys, tmp_path)
    assert code == 2 and "has no store store.sqlite yet" in err
    with Store(tmp_path / "store.sqlite"):
        pass
    code, _, err = run(capsys, tmp_path)
    assert code == 2 and "holds no judgements yet" in err
