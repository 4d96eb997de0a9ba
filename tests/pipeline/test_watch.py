"""Watch mode: people judge through the real server while a project trains, and each round learns from what they said."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading

import pytest

from nursery import At
from plaudit.feedback.client import FeedbackClient
from plaudit.judgements.panel import Panel
from plaudit.pipeline.project.plan import read
from plaudit.pipeline.project.watch import Standing, roles_of
from plaudit.schema import Assignment, UserError
from plaudit.store import Store

YAML = """
project: shop
seed: 3
model: tiny
stages:
  answers:
    verb: generate
    model: tiny
    prompts: prompts.jsonl
    max_new_tokens: 6
  judge:
    verb: judge
    prompts: prompts.jsonl
    completions: ${answers.completions}
    annotators: people
    eval_fraction: 0.25
  reward:
    verb: reward
    model_name_or_path: tiny
    train_file: ${judge.pairs}
    eval_file: ${judge.eval_pairs}
    max_steps: 2
    use_peft: true
  ppo:
    verb: ppo
    model_name_or_path: tiny
    train_file: prompts.jsonl
    reward_model_path: ${reward.model}
    max_steps: 2
    save_steps: 1
    max_completion_length: 6
    per_device_train_batch_size: 4
    use_peft: true
"""
EACH = 8
"""Judgements that a round waits for."""


def write(folder):
    folder.mkdir(exist_ok=True)
    (folder / "plaudit.yaml").write_text(YAML)
    rows = [{"prompt": f"Where is {what} {number}?"} for number in range(6) for what in ("order", "bill")]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class People(threading.Thread):
    """The scripted panel as one annotator over the API, for as long as somebody watches; never more than `most` acts."""

    def __init__(self, folder, most):
        super().__init__()
        self.folder, self.most, self.over, self.given = folder, most, threading.Event(), 0
        self.problem, self.ready = None, threading.Event()

    def run(self):
        command = [sys.executable, "-m", "plaudit", "feedback", "--project", str(self.folder), "--port", "0"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = re.search(r"http://[\d.:]+", server.stdout.readline())[0]
            with FeedbackClient(url) as client:
                client.status()
                self.ready.set()
                while not self.over.is_set() and self.given < self.most:
                    question = client.next("pairwise")
                    if question is None:
                        self.over.wait(0.05)
                        continue
                    gold = {"0": len(question["answers"][0]), "1": len(question["answers"][1])}
                    act = Panel(seed=self.given).judge(Assignment(question["lease"], ("0", "1")), gold)
                    client.judge(question["lease"], act.judgement, seconds=1.0)
                    self.given += 1
        except Exception as error:
            self.problem = error
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(20)


@pytest.fixture(scope="module")
def watched(tmp_path_factory, nursery):
    """Two rounds, with a kill in the second one's PPO."""
    folder = tmp_path_factory.mktemp("watch")
    write(folder)
    people = People(folder, 4 * EACH)
    people.start()
    assert people.ready.wait(60), "nobody could judge, and the watch would wait for ever"
    words = ("run", "--watch", "--judgements", EACH, "--rounds", 2, "--json")
    killed = nursery.run(*words, cwd=folder, at=At(".checkpoint-1.tmp/manifest.json", 2))
    went_on = nursery.run(*words, cwd=folder)
    people.over.set()
    people.join()
    assert people.problem is None, people.problem
    return folder, people, killed, went_on


@pytest.mark.slow
def test_people_judge_while_it_trains_and_every_round_learns_from_them(watched):
    folder, people, _, went_on = watched
    assert went_on.code == 0, went_on.err
    summary = json.loads(went_on.out)
    first, second = summary["rounds"]
    assert first["figures"]["judge"]["judgements"] >= EACH
    assert second["figures"]["judge"]["judgements"] >= first["figures"]["judge"]["judgements"] + EACH, "old ones count too"
    with Store(folder / "store.sqlite", readonly=True) as store:
        acts, runs = store.feedback(), {run.id: run for run in store.runs()}
        written = {one.policy for one in store.completions()}
        scored = store.scores()
    assert len(acts) == people.given and {act.source for act in acts} == {"human"}
    assert first["policy"] != second["policy"] and len(written) == 2, "the second round's answers are of the first one's policy"
    assert runs[f"shop/{second['policy'].split('/')[-2]}"].config["model_name_or_path"] == first["policy"]
    assert f"shop/{first['policy'].split('/')[-2]}" in runs[f"shop/{second['policy'].split('/')[-2]}"].parents
    assert len(scored) == 1 and len(next(iter(scored.values()))) == 24, (
        "the first reward model scored the second round's answers"
    )


@pytest.mark.slow
def test_a_watch_that_was_killed_goes_on_with_the_judgements_that_its_round_had(watched):
    folder, _, killed, _ = watched
    assert killed.code == -9
    standing = Standing.read(folder / "runs" / "shop" / "watch.json")
    assert standing.done == 2 and standing.until is None
    ppo = [path for path in (folder / "runs" / "shop").glob("ppo-*") if (path / "stage.json").exists()]
    assert len(ppo) == 2 and not [path for path in (folder / "runs" / "shop").glob("ppo-*") if path not in ppo]


@pytest.mark.slow
def test_a_watch_whose_rounds_are_done_does_nothing(watched, nursery):
    folder, *_ = watched
    done = nursery.run("run", "--watch", "--judgements", EACH, "--rounds", 2, "--json", cwd=folder)
    assert done.code == 0 and len(json.loads(done.out)["rounds"]) == 2


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("annotators: people", "annotators: simulated\n    reward_func: length_penalty", "annotators: people"),
        ("${answers.completions}", "prompts.jsonl", "verb: generate"),
        ("train_file: ${judge.pairs}", "train_file: prompts.jsonl", "a reward model on"),
        ("reward_model_path: ${reward.model}", "reward_funcs: [length_penalty]", "reward_model_path"),
    ],
)
def test_a_project_that_cannot_go_round_says_what_is_missing(tmp_path, old, new, says):
    write(tmp_path)
    text = YAML.replace(old, new)
    assert text != YAML
    (tmp_path / "plaudit.yaml").write_text(text)
    with pytest.raises(UserError, match=re.escape(says)):
        roles_of(read(tmp_path / "plaudit.yaml"))


def test_a_damaged_standing_is_said_in_words(tmp_path):
    (tmp_path / "watch.json").write_text("{half")
    with pytest.raises(UserError, match="remove it to begin"):
        Standing.read(tmp_path / "watch.json")


def test_watching_and_picking_stages_exclude_each_other(tmp_path, nursery):
    write(tmp_path)
    assert "leave out --only" in nursery.run("run", "--watch", "--only", "ppo", cwd=tmp_path).refusal
