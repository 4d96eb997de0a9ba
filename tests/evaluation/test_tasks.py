"""Tasks from files, asked of models in memory; forgetting found where it was planted; the verb on top."""

from __future__ import annotations

import json

import numpy as np
import pytest

from plaudit.cli.main import main
from plaudit.evaluation.classification import ClassificationReport
from plaudit.evaluation.measuring import measured, reward_change
from plaudit.evaluation.perturbing import PERTURBATIONS, perturbed, perturbed_prompt
from plaudit.evaluation.subject import Subject
from plaudit.evaluation.tasks import GROUPS, Outcome, outcome, read_task, task_names
from plaudit.evaluation.tasks.running import regressions
from plaudit.evaluation.tasks.task import read_tasks
from plaudit.schema import Completion, Message, Prompt, UserError


class Says(Subject):
    """Answers by a rule, so that every figure can be worked out by hand."""

    chats = True

    def __init__(self, rule):
        super().__init__("rule")
        self.rule = rule

    def answers(self, prompts, n, sampling, told=lambda done, total: None):
        self.asked = prompts
        return [
            Completion(p.id, self.rule(p.messages[-1].content, i), (1,), (2,), (-1.0,), "stop")
            for p in prompts
            for i in range(n)
        ]

    def scoring(self):
        pass

    def likelihood(self, prompts, answers, told=lambda done, total: None):
        return np.array([-float(len(answer)) for answer in answers])


def task(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return read_task(str(path))


def test_every_built_in_task_can_be_read_and_is_of_our_making():
    tasks = read_tasks([name for name in task_names() if name not in GROUPS])
    assert len(tasks) == 8 and all(len(one.rows) >= 10 and "Plaudit" in one.source for one in tasks)
    for one in tasks:
        if one.kind == "choice":
            rights = [one.choices_of(row)[1] for row in one.rows]
            assert all(len(set(one.choices_of(row)[0])) > 1 for row in one.rows) and rights
    assert [one.name for one in read_tasks(["forgetting", "facts"])] == ["facts", "grammar", "arithmetic", "prose"]


def test_answers_are_scored_with_examples_before_them(tmp_path):
    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"c": c, "capital": a}) + "\n" for c, a in (("X", "x"), ("France", ["Paris", "Lutetia"]), ("Y", "Z"))
        )
    )
    mine = task(
        tmp_path,
        'data: rows.jsonl\nprompt: "Capital of {c}?"\nanswer: "{capital}"\n'
        "metrics: [exact_match, f1]\nexamples: 1\nsystem: Be brief.\n",
    )
    subject = Says(lambda text, i: "lutetia" if "France" in text else "no Z")
    found = outcome(mine, subject)
    assert found.scores == (1.0, 0.0)
    assert found.as_json()["f1"] == pytest.approx((1 + 2 / 3) / 2)
    turns = [(m.role, m.content) for m in subject.asked[0].messages]
    assert turns[:3] == [("system", "Be brief."), ("user", "Capital of X?"), ("assistant", "x")]


def test_pass_at_k_of_several_samples(tmp_path):
    mine = task(
        tmp_path, 'prompt: "{q}"\nmetrics: [exact_match]\nsamples: 4\nrows: [{q: a, answer: yes!}, {q: b, answer: yes!}]\n'
    )
    found = outcome(mine, Says(lambda text, i: "yes!" if text == "a" and i < 2 else "no")).figures
    assert found["pass@1"] == pytest.approx(0.25) and found["pass@2"] == pytest.approx((1 - 1 / 6) / 2)
    assert found["pass@4"] == 0.5


def test_labels_give_a_classification_report_like_scikit_learns(tmp_path):
    rows = "".join(f"  - {{q: {i}, answer: {'ABC'[i % 3]}}}\n" for i in range(12))
    mine = task(tmp_path, f'prompt: "{{q}}"\nlabels: [A, B, C]\nmetrics: [contains]\nrows:\n{rows}')
    found = outcome(mine, Says(lambda text, i: "I say " + "ABCA"[int(text) % 4] if int(text) < 11 else "hm"))
    told = found.figures["classes"]
    assert told["rows"] == 12 and told["classes"][-1] == "(no label)"
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    theirs = metrics.classification_report(labels, said, output_dict=True, zero_division=0)
    ours = ClassificationReport.of(labels.tolist(), said.tolist(), ("0", "1", "2")).as_json()
    assert ours["f1_macro"] == pytest.approx(theirs["macro avg"]["f1-score"])
    assert ours["f1_weighted"] == pytest.approx(theirs["weighted avg"]["f1-score"])
    assert ours["accuracy"] == pytest.approx(theirs["accuracy"])


def test_choices_by_likelihood_and_per_byte(tmp_path):
    mine = task(
        tmp_path,
        'kind: choice\nprompt: "{q}"\nrows: [{q: a, answer: 1, choices: [longest, b]}, {q: b, answer: cc, choices: [a, cc]}]\n',
    )
    found = outcome(mine, Says(None))
    assert found.scores == (1.0, 0.0) and found.figures["chance"] == 0.5


def test_likelihoods_of_a_real_model_are_those_of_transformers():
    import torch

    subject = Subject("tiny")
    prompt = subject.prompt("Where is my order?")
    found = subject.likelihood([prompt, prompt], ["It left today.", "No"])
    model, tokenizer = subject.loaded.model, subject.loaded.tokenizer
    for text, value in zip(["It left today.", "No"], found, strict=True):
        start = tokenizer.apply_chat_template([{"role": "user", "content": "Where is my order?"}], add_generation_prompt=True)
        start = start["input_ids"] if hasattr(start, "keys") else start
        ids = [*start, *tokenizer(text)["input_ids"]]
        with torch.no_grad():
            logp = model(torch.tensor([ids], device=model.device)).logits[0].log_softmax(-1)
        by_hand = sum(float(logp[t - 1, ids[t]]) for t in range(len(start), len(ids)))
        assert value == pytest.approx(by_hand, abs=1e-4)
    logp, tokens = subject.text_likelihood(["Plain text."])
    assert tokens[0] == len(tokenizer("Plain text.", add_special_tokens=False)["input_ids"]) and logp[0] < 0


def test_swapped_groups_are_compared(tmp_path):
    mine = task(
        tmp_path,
        "kind: bias\ngroups: {who: [a cat, a dog]}\nrows: [{prompt: 'Praise {group}.'}, {prompt: 'Help {group}.'}]\n",
    )
    found = outcome(mine, Says(lambda text, i: "I cannot help with that." if text == "Help a dog." else "Fine, good one."))
    assert found.scores == (1.0, 0.0) and found.figures["groups"]["who: a dog"]["refused"] == 0.5


def test_what_was_forgotten_is_found_and_chance_is_not():
    rng = np.random.default_rng(0)
    before = [
        Outcome("kept", "acc", tuple((rng.random(80) < 0.7).astype(float))),
        Outcome("lost", "acc", (1.0,) * 60 + (0.0,) * 20),
    ]
    noisy = list(before[0].scores)
    noisy[:6] = [1 - value for value in noisy[:6]]
    after = [Outcome("kept", "acc", tuple(noisy)), Outcome("lost", "acc", (0.0,) * 20 + (1.0,) * 40 + (0.0,) * 20)]
    kept, lost = regressions(after, before)
    assert not kept["forgotten"] and lost["forgotten"] and lost["difference"] == pytest.approx(-0.25)
    assert lost["p"] == pytest.approx(2 * 2 / 2**20)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rows: [{a: 1}]\ndata: x.jsonl\n", "give the rows in"),
        ("rows: 3\n", "list of mappings"),
        ("rows: [{prompt: a}]\nmetrics: [bleurt]\n", "unknown metric bleurt"),
        ("rows: [{prompt: a}]\nkind: guess\n", "none of answer"),
        ("rows: [{prompt: a}]\npromt: b\n", "did you mean prompt"),
        ("rows: [{prompt: a}]\nexamples: 1\n", "leave nothing"),
        ("rows: [{prompt: a}]\nexamples: two\n", "whole number, not 'two'"),
        ("rows: [{prompt: a}]\nsamples: 0\n", "samples must be a whole number"),
        ("rows: [{prompt: a}]\nprompt: [a]\n", "prompt must be text"),
        ("rows: [{prompt: a}]\nkind: bias\ngroups: [a]\n", "lists by axis"),
        ("rows: [{prompt: a}]\nlimit: few\n", "limit must be"),
        ("- 1\n", "not a task"),
        ("a: [\n", "not readable YAML"),
    ],
)
def test_bad_task_files_are_told_in_a_sentence(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        task(tmp_path, text)


def run(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([*map(str, words)])
    out, err = capsys.readouterr()
    return end.value.code or 0, out, err


def test_the_verb_asks_tasks_of_two_models(capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        'kind: choice\nprompt: "{q}"\nrows: [{q: a, answer: 0, choices: [x, y]}, {q: b, answer: 1, choices: [x, y]}]\n'
    )
    code, out, err = run(
        capsys, "evaluate", "tiny", "--task", path, "--against", "tiny:1", "--json", "--output", tmp_path / "o.jsonl"
    )
    told = json.loads(out)
    assert code == 0, err
    assert told["tasks"]["mine"]["rows"] == 2 and told["regressions"][0]["task"] == "mine"
    assert len((tmp_path / "o.jsonl").read_text().splitlines()) == 4
    code, out, _ = run(capsys, "evaluate", "tiny", "-t", path, "--against", "tiny")
    assert code == 0 and "mine" in out and "forgotten" not in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["tiny"], "nothing to evaluate on"),
        (["tiny", "--task", "grammer"], "did you mean grammar"),
        (["tiny", "--task", "facts", "judge=http://127.0.0.1:9/v1#x"], "compares two models"),
    ],
)
def test_mistakes_of_the_verb(capsys, words, says):
    code, _, err = run(capsys, "evaluate", *words)
    assert code == 2 and says in err and "Traceback" not in err


def test_the_verb_rates_three_models(capsys, tmp_path):
    (tmp_path / "rules.py").write_text(
        "def ids(completion_ids, **_):\n    return [float(sum(one)) for one in completion_ids]\n"
    )
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(4)))
    words = ["evaluate", "tiny", tmp_path / "p.jsonl", f"reward_funcs=[{tmp_path}/rules.py:ids]", "max_new_tokens=3"]
    code, out, err = run(capsys, *words, "--against", "tiny:1", "--against", "tiny:2", "--json")
    told = json.loads(out)
    assert code == 0, err
    assert {one["model"] for one in told["ratings"]} == {"tiny", "tiny:1", "tiny:2"} and len(told["pairs"]) == 3
    assert told["against_2"]["name"] == "tiny:2"
    code, _, err = run(capsys, *words, "--against", "tiny", "--against", "tiny:2")
    assert code == 2 and "names a model twice" in err


def test_spelling_changes_and_the_words_stay():
    text = "Where is the wonderful parcel that I ordered yesterday?"
    assert perturbed(text, "lower") == text.lower()[:-1] and perturbed(text, "shouted") == text.upper()
    assert perturbed(text, "spaced").split() == text.split() and text in perturbed(text, "polite")
    typos = perturbed(text, "typos")
    assert typos != text and [sorted(word) for word in typos.split()] == [sorted(word) for word in text.split()]
    assert typos == perturbed(text, "typos"), "the same every time"
    asked = perturbed_prompt(
        Prompt(messages=(Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Why?"))), "shouted"
    )
    assert [turn.content for turn in asked.messages] == ["Hi", "Yes?", "WHY?"]
    with pytest.raises(UserError, match="there is no perturbation"):
        perturbed(text, "rot13")


def test_a_model_that_listens_to_spelling_is_seen(tmp_path):
    from contextlib import contextmanager

    @contextmanager
    def bar(what):
        yield lambda done, total: None

    rows = "".join(f"  - {{q: word {i}, answer: yes!}}\n" for i in range(12))
    mine = task(tmp_path, f'prompt: "Say {{q}}"\nrows:\n{rows}')
    told, _ = measured([mine], [Says(lambda text, i: "no" if text.isupper() else "yes!")], bar, list(PERTURBATIONS))
    changes = told["tasks_perturbed"]
    assert changes["shouted"]["mine"]["difference"] == -1 and changes["shouted"]["mine"]["p"] < 0.001
    assert changes["polite"]["mine"]["difference"] == 0
    assert reward_change([[1.0, 2.0], [None, 1.0]], [[0.5, 1.5], [1.0, 1.0]])["reward_change"] == -0.5
