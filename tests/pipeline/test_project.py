"""Projects: what runs again after a change, what a mistake says, how a killed one goes on. The tiny model throughout."""

from __future__ import annotations

import json
import os
import signal

import pytest

from nursery import At
from plaudit.pipeline.project.keys import content
from plaudit.pipeline.project.plan import read
from plaudit.schema import UserError
from plaudit.store import Store

YAML = """
project: shop
seed: 3
model: tiny
stages:
  evaluate:
    verb: evaluate
    model: ${sft.model}
    against: tiny
    prompts: prompts.jsonl
    reward_funcs: [rewards.py:longish]
    max_new_tokens: 4
  reward:
    verb: reward
    model_name_or_path: ${sft.model}
    train_file: ${judge.pairs}
    eval_file: ${judge.eval_pairs}
    max_steps: 2
    use_peft: true
  judge:
    verb: judge
    prompts: prompts.jsonl
    completions: ${answers.completions}
    annotators: simulated
    reward_func: rewards.py:longish
  answers:
    verb: generate
    model: ${sft.model}
    prompts: prompts.jsonl
    max_new_tokens: 6
  sft:
    verb: sft
    train_file: demonstrations.jsonl
    max_steps: 2
    save_steps: 1
    bf16: false
"""
REWARDS = """
def longish(completion_ids, **_):
    return [sum(i % 7 for i in ids) / 10 for ids in completion_ids]
"""
QUESTIONS = [f"Where is {what} {i}?" for i in range(4) for what in ("order", "refund", "parcel", "bill")]
ORDER = ["sft", "evaluate", "answers", "judge", "reward"]


def rows(*columns):
    made = [{"prompt": question} | {name: f"{name} {question[:9]}" for name in columns} for question in QUESTIONS]
    return "".join(json.dumps(row) + "\n" for row in made)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, nursery):
    """A project that ran once, uninterrupted."""
    folder = tmp_path_factory.mktemp("project")
    write(folder)
    done = nursery.run("run", "--json", cwd=folder)
    assert done.code == 0, done.err
    return folder, json.loads(done.out)


def write(folder):
    (folder / "plaudit.yaml").write_text(YAML)
    (folder / "rewards.py").write_text(REWARDS)
    (folder / "demonstrations.jsonl").write_text(rows("completion"))
    (folder / "prompts.jsonl").write_text(rows())


def states(nursery, folder, *words):
    done = nursery.run("run", "--json", *words, cwd=folder)
    assert done.code == 0, done.err
    return {name: stage["state"] for name, stage in json.loads(done.out)["stages"].items()}


def planned(nursery, folder):
    """Stages that would run now."""
    return [name for name, state in states(nursery, folder, "--dry-run").items() if state == "run"]


def test_stages_run_in_the_order_of_their_needs(finished):
    folder, summary = finished
    assert list(summary["stages"]) == ORDER and summary["status"] == "finished"
    assert {stage["state"] for stage in summary["stages"].values()} == {"run"}
    assert "win_rate" in summary["stages"]["evaluate"]["figures"]
    assert json.loads((folder / "runs/shop/summary.json").read_text()) == summary
    page = (folder / "runs/shop/report.html").read_text()
    assert "Training: sft" in page and "Training: reward" in page and "win_rate" in page
    for name, stage in summary["stages"].items():
        assert (folder / "runs/shop/latest" / name).resolve() == (folder / stage["folder"]).resolve()


def test_nothing_runs_again_where_nothing_changed_and_dates_do_not_count(finished, nursery):
    folder, _ = finished
    for name in ("demonstrations.jsonl", "prompts.jsonl", "rewards.py", "plaudit.yaml"):
        os.utime(folder / name, (1, 1))
    assert set(states(nursery, folder).values()) == {"kept"}


@pytest.mark.parametrize(
    ("file", "old", "new", "again"),
    [
        ("demonstrations.jsonl", "Where is bill 3?", "Where is bill 9?", ORDER),
        ("prompts.jsonl", "Where is bill 3?", "Where is bill 9?", ["answers", "judge", "reward", "evaluate"]),
        ("rewards.py", "/ 10", "/ 11", ["judge", "reward", "evaluate"]),
        ("plaudit.yaml", "max_new_tokens: 4", "max_new_tokens: 5", ["evaluate"]),
        ("plaudit.yaml", "max_new_tokens: 6", "max_new_tokens: 7", ["answers", "judge", "reward"]),
        ("plaudit.yaml", "seed: 3", "seed: 4", ORDER),
        ("plaudit.yaml", "    use_peft: true", "    use_peft: true  # small", []),
        ("plaudit.yaml", "    save_steps: 1", "    save_steps: 1\n    save_total_limit: 5", []),
    ],
)
def test_a_change_runs_exactly_what_depends_on_it(finished, nursery, file, old, new, again):
    folder, _ = finished
    before = (folder / file).read_text()
    assert old in before
    (folder / file).write_text(before.replace(old, new))
    try:
        assert sorted(planned(nursery, folder)) == sorted(again)
    finally:
        (folder / file).write_text(before)


def test_every_stage_is_in_the_store_with_what_it_was_made_of(finished):
    folder, summary = finished
    with Store(folder / "store.sqlite", readonly=True) as store:
        last = summary["stages"]["reward"]["folder"].rpartition("/")[2]
        lineage = store.lineage(f"shop/{last}")
        assert {run.verb for run in lineage.ancestors} == {"sft", "generate", "judge"}
        assert lineage.datasets and lineage.feedback_ids
        assert {act.source for act in store.feedback()} == {"simulated"}


def test_a_model_of_ones_own_counts_by_its_weights(finished, nursery, tmp_path):
    folder, summary = finished
    model = folder / summary["stages"]["sft"]["folder"] / "model"
    write(tmp_path)
    text = (tmp_path / "plaudit.yaml").read_text()
    (tmp_path / "plaudit.yaml").write_text(text.replace("model: tiny\nstages", f"model: {model}\nstages"))

    def keys():
        done = nursery.run("run", "--dry-run", "--json", cwd=tmp_path)
        return {name: stage["folder"] for name, stage in json.loads(done.out)["stages"].items()}

    before = keys()
    weights = model / "model.safetensors"
    held = weights.read_bytes()
    try:
        os.utime(weights, (1, 1))
        assert keys() == before
        weights.write_bytes(held[:-4] + b"\x00\x00\x80\x3f")
        after = keys()
    finally:
        weights.write_bytes(held)
    assert {name for name in before if before[name] != after[name]} == set(ORDER)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("checkpoint-1", []),
        ("completions.jsonl", ["sft", "evaluate"]),
        ("eval_pairs.jsonl", ["sft", "evaluate", "answers"]),
        ("latest/.judge", ["sft", "evaluate", "answers", "judge"]),
    ],
)
def test_killed_anywhere_it_goes_on_and_ends_the_same(finished, nursery, tmp_path, text, kept):
    whole, summary = finished
    write(tmp_path)
    assert nursery.run("run", cwd=tmp_path, at=At(text)).code == -signal.SIGKILL
    after = states(nursery, tmp_path)
    assert [name for name in ORDER if after[name] == "kept"] == kept
    for name, stage in summary["stages"].items():
        for file in ("model/model.safetensors", "completions.jsonl", "pairs.jsonl", "answers.jsonl"):
            if (whole / stage["folder"] / file).exists():
                assert (tmp_path / stage["folder"] / file).read_bytes() == (whole / stage["folder"] / file).read_bytes(), name


@pytest.mark.slow
def test_a_stage_that_ctrl_c_stops_goes_on(finished, nursery, tmp_path):
    write(tmp_path)
    stopped = nursery.run("run", cwd=tmp_path, at=At("checkpoint-1", signal=signal.SIGINT))
    assert stopped.code == 130 and "go on with" in stopped.err
    assert json.loads((tmp_path / "runs/shop/summary.json").read_text())["status"] == "SIGINT"
    assert states(nursery, tmp_path)["sft"] == "run"


@pytest.mark.slow
def test_only_and_from_need_what_is_finished(finished, nursery, tmp_path):
    write(tmp_path)
    sentence = nursery.run("run", "--only", "answers", cwd=tmp_path).refusal
    assert sentence == "stage answers needs sft, which is not finished; run without --only and --from first"
    assert "no stage anwers; it has sft" in nursery.run("run", "--only", "anwers", cwd=tmp_path).refusal
    assert states(nursery, tmp_path, "--only", "sft") == dict.fromkeys(ORDER, "left out") | {"sft": "run"}
    folder, _ = finished
    assert states(nursery, folder, "--force", "judge") == {
        "sft": "kept", "answers": "kept", "judge": "run", "reward": "run", "evaluate": "kept"
    }  # fmt: skip


def test_every_mistake_is_told_at_once_and_nothing_runs(nursery, tmp_path):
    write(tmp_path)
    text = YAML.replace("max_steps: 2\n    save", "max_stepz: 2\n    save").replace(
        "${answers.completions}", "${anwsers.completions}"
    )
    text = (
        text.replace("${judge.pairs}", "${judge.pears}")
        .replace("verb: generate", "verb: generat")
        .replace("seed: 3", "sead: 3")
    )
    text = text.replace("max_new_tokens: 4", "num_generations: 0")
    (tmp_path / "plaudit.yaml").write_text(text)
    done = nursery.run("run", cwd=tmp_path)
    assert done.code == 2 and not (tmp_path / "runs").exists()
    told = done.err.splitlines()
    assert told[0].endswith("plaudit.yaml: 6 mistakes, nothing was run:") and len(told) == 7
    for line, words in (
        (3, "there is no sead here; did you mean seed?"),
        (12, "stage evaluate: num_generations must be an integer, 1 or more, not 0"),
        (16, "stage reward: stage judge gives no pears; it has folder, pairs, eval_pairs"),
        (23, "stage judge: there is no stage anwsers; did you mean answers?"),
        (27, "stage answers: there is no verb 'generat'; did you mean generate?"),
        (34, "stage sft: there is no option max_stepz; did you mean max_steps?"),
    ):
        assert any(f"plaudit.yaml, line {line}: " in one and words in one for one in told), (line, words, done.err)


def test_a_circle_and_an_option_of_the_project_are_told(tmp_path):
    path = tmp_path / "plaudit.yaml"
    circle = "stages: {a: {verb: sft, train_file: '${b.folder}/x'}, b: {verb: sft, train_file: '${a.folder}/x', output_dir: y}}"
    path.write_text(circle)
    with pytest.raises(UserError) as caught:
        read(path)
    assert "need each other in a circle" in str(caught.value) and "output_dir is set by the project" in str(caught.value)


def test_data_in_folders_patterns_and_mixtures_counts_by_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        (tmp_path / "data" / f"{name}.jsonl").write_text(rows("completion"))
    ways = [
        "data",
        "data/*.jsonl",
        ["data/a.jsonl", "data/b.jsonl"],
        {"data/a.jsonl": 1, "data/b.jsonl": 2},
        [{"path": "data", "weight": 1}],
    ]
    before = [content(way) for way in ways]
    assert before == [content(way) for way in ways] and content("data/c.jsonl") == "data/c.jsonl"
    (tmp_path / "data" / "b.jsonl").write_text(rows("completion")[1:])
    assert all(old != new for old, new in zip(before, [content(way) for way in ways], strict=True))


def test_people_are_asked_for_where_there_is_no_feedback(finished, nursery, tmp_path):
    write(tmp_path)
    text = YAML.replace("annotators: simulated\n    reward_func: rewards.py:longish", "annotators: people")
    (tmp_path / "plaudit.yaml").write_text(text)
    assert "no store store.sqlite with people's judgements" in nursery.run("run", cwd=tmp_path).refusal


def test_init_writes_a_project_that_runs_and_keeps_what_is_there(nursery, tmp_path):
    assert nursery.run("init", "shop", "--model", "tiny", cwd=tmp_path).code == 0
    project = read(tmp_path / "shop" / "plaudit.yaml")
    assert list(project.stages) == ["sft", "answers", "judge", "reward", "ppo", "evaluate"]
    (tmp_path / "shop" / "rewards.py").write_text("mine")
    (tmp_path / "shop" / "README.md").unlink()
    sentence = nursery.run("init", "shop", cwd=tmp_path).refusal
    assert sentence.startswith("shop already has plaudit.yaml, rewards.py") and "nothing was written" in sentence
    assert (tmp_path / "shop" / "rewards.py").read_text() == "mine" and not (tmp_path / "shop" / "README.md").exists()
    assert nursery.run("init", "shop", "--force", cwd=tmp_path).code == 0
    assert "def helpful" in (tmp_path / "shop" / "rewards.py").read_text()


@pytest.mark.slow
def test_a_new_project_runs_to_its_end(nursery, tmp_path):
    assert nursery.run("init", "shop", "--model", "tiny", cwd=tmp_path).code == 0
    text = (tmp_path / "shop/plaudit.yaml").read_text().replace("80", "8")
    (tmp_path / "shop/plaudit.yaml").write_text(text)
    assert set(states(nursery, tmp_path / "shop").values()) == {"run"}


@pytest.mark.parametrize(
    ("columns", "stages", "left"),
    [
        (("completion",), ["sft", "answers", "judge", "reward", "ppo", "evaluate"], []),
        ((), ["answers", "judge", "reward", "ppo", "evaluate"], ["sft needs answers to imitate"]),
        (("chosen", "rejected"), ["sft", "reward", "ppo", "evaluate"], ["the file holds pairs"]),
    ],
)
def test_init_takes_the_users_own_file_for_what_it_can(nursery, tmp_path, columns, stages, left):
    (tmp_path / "mine.jsonl").write_text(rows(*columns))
    done = nursery.run("init", "shop", "--from", "mine.jsonl", "--model", "tiny", cwd=tmp_path)
    assert done.code == 0, done.err
    text = (tmp_path / "shop" / "plaudit.yaml").read_text()
    assert list(read(tmp_path / "shop" / "plaudit.yaml").stages) == stages
    assert "../mine.jsonl" in text and all(reason in text for reason in left)
    assert nursery.run("run", "--dry-run", cwd=tmp_path / "shop").code == 0
