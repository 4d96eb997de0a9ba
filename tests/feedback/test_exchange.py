"""Import and export: every shape goes out and comes in again with what it can hold; wrong files are refused whole."""

from __future__ import annotations

import json

import pytest

from feedback_world import Browser, account, acts, running, seeded
from plaudit.data.readers import read
from plaudit.feedback.formats import CONVERTED, FORMATS, Material, export, pseudonyms
from plaudit.feedback.importing import read_upload
from plaudit.schema import Assignment, Completion, Feedback, Message, Prompt, UserError


def material():
    """Two questions, three answers each, judged in several ways by two people and a model; one answer was changed."""
    prompts = [Prompt(messages=(Message("user", text),)) for text in ("Where is it?", "你好 👋")]
    answers = [
        Completion(prompt.id, text, (1, 2), (3,), (-0.5,), "stop", "run-1", place, 7)
        for prompt in prompts
        for place, text in enumerate(("Here.", "There.\u2028Or there.\x85", 'مرحبا, "quoted"\nline'))
    ]
    first, second, third = answers[:3]
    pair = Assignment(prompts[0].id, (second.id, first.id), "pairwise")
    before = Feedback(pair, {"choice": "a", "strength": 1}, "Ada", "human", 3.0, "2026-01-01T00:00:00+00:00")
    single = Assignment(prompts[0].id, (third.id,), "correction")
    given = [
        before,
        Feedback(pair, {"choice": "b", "strength": 2, "comment": "clearer"}, "Ada", "human", 2.0, "2026-01-01", before.id),
        Feedback(pair, {"choice": "tie", "strength": 0}, "Ben", "human"),
        Feedback(Assignment(prompts[0].id, (first.id, second.id)), {"choice": "a", "strength": 1}, "gpt-9", "judge"),
        Feedback(single, {"text": "Better."}, "Ben", "human"),
        Feedback(Assignment(prompts[1].id, (answers[3].id,), "thumb"), {"value": 1}, "Ada", "human"),
        Feedback(Assignment(prompts[1].id, (answers[4].id,), "thumb"), {"value": 0}, "Ada", "human"),
    ]
    return Material(prompts, answers, given)


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def test_our_own_shape_loses_nothing_but_the_names():
    held = material()
    back = read_upload("all.jsonl", lines(export("plaudit", held).rows)).material
    assert list(back.prompts) == list(held.prompts) and list(back.completions) == list(held.completions)
    names = pseudonyms(held.feedback)
    assert names == {"Ada": "person-1", "Ben": "person-2", "gpt-9": "gpt-9"}
    assert [(a.assignment, a.judgement, a.annotator, a.seconds) for a in back.feedback] == [
        (a.assignment, a.judgement, names[a.annotator], a.seconds) for a in held.feedback
    ]
    assert back.feedback[1].supersedes == back.feedback[0].id, "what was changed is still known"
    again = read_upload("all.jsonl", lines(export("plaudit", back).rows)).material
    assert again == back


@pytest.mark.parametrize("name", ["argilla", "label-studio"])
def test_the_votes_of_each_person_survive_the_other_annotation_tools(name):
    rows = export(name, material()).rows
    body = json.dumps(rows).encode() if name == "label-studio" else lines(rows)
    back = read_upload("x.json" if name == "label-studio" else "x.jsonl", body).material
    texts = {one.id: one.text for one in back.completions}
    votes = {}
    for act in back.feedback:
        choice = act.judgement["choice"]
        votes[act.annotator] = texts[act.assignment.completion_ids["ab".index(choice)]] if choice in "ab" else choice
    assert votes == {"person-1": "Here.", "person-2": "tie", "gpt-9": "Here."}
    assert [act.judgement["comment"] for act in back.feedback if "comment" in act.judgement] == ["clearer"]
    assert back.prompts[0].messages[0].content == "Where is it?"


@pytest.mark.parametrize("name", [name for name, (kind, _) in CONVERTED.items() if kind not in ("steps",)])
def test_what_is_trained_on_is_read_by_our_own_trainer(name, tmp_path):
    made = export(name, material())
    assert made.rows
    file = tmp_path / "rows.jsonl"
    file.write_bytes(lines(made.rows))
    wants = {"rankings": "rankings", "labels": "labels", "prompts": "prompts"}.get(made.kind, "demonstrations")
    items = read(str(file), wants).items
    assert len(items) == len(made.items)
    for item, original in zip(items, made.items, strict=True):
        prompt = item if wants == "prompts" else item.prompt
        assert prompt.id == (original if wants == "prompts" else original.prompt).id
    if wants == "rankings":
        sides = [[a if isinstance(a, str) else a[-1].content for a in item.answers] for item in items]
        assert sides == [[a if isinstance(a, str) else a[-1].content for a in item.answers] for item in made.items]
        assert ["Here.", "There.\u2028Or there.\x85"] in sides and ["Better.", 'مرحبا, "quoted"\nline'] in sides


def test_an_upload_is_there_once_however_often_it_is_sent(tmp_path):
    with running(tmp_path) as app:
        here = Browser(app)
        body = lines(export("plaudit", material()).rows)
        headers = {"x-csrf-token": here.csrf()}
        first, again = (here.post("/exchange/import?name=a.jsonl", content=body, headers=headers).json() for _ in range(2))
        assert first["new"] == {"prompts": 2, "completions": 6, "feedback": 7} and set(again["new"].values()) == {0}
        assert here.question("ranking")[0] is not None, "what came in can be asked at once"


def test_an_export_is_a_file_with_a_snapshot_that_leads_back_to_the_acts(tmp_path):
    seeded(tmp_path / "store.sqlite")
    with running(tmp_path) as app:
        here = Browser(app)
        here.judge(verdict="a2")
        answer = here.submit("/exchange/export", {"format": "trl-preference"})
        digest = answer.headers["x-dataset-digest"]
        assert answer.headers["content-disposition"] == f'attachment; filename="plaudit-trl-preference-{digest}.jsonl"'
        with app.state.server.readers.lend() as store:
            assert store.dataset(digest).feedback_ids == (acts(app)[0].id,)
        assert here.submit("/exchange/export", {"format": "trl-sft"}).status_code == 400, "nothing of the kind yet"
        assert here.submit("/exchange/export", {"format": "../x"}).status_code == 400


def test_no_export_names_a_person(tmp_path):
    seeded(tmp_path / "store.sqlite")
    with running(tmp_path) as app:
        lin = account(app, "Lin Wanderer", "admin")
        lin.judge(verdict="a2")
        lin.judge("correction", text="Better.")
        for name in FORMATS:
            assert "Wanderer" not in lin.submit("/exchange/export", {"format": name}).text, name


def test_a_quarantined_prompt_is_neither_asked_nor_exported_and_comes_back(tmp_path):
    prompts = seeded(tmp_path / "store.sqlite", questions=1)
    with running(tmp_path) as app:
        here = Browser(app)
        here.judge(verdict="a2")
        assert here.submit(f"/data/{prompts[0].id}/quarantine", {"reason": "spam"}).status_code == 303
        assert here.question()[0] is None and here.submit("/exchange/export", {"format": "trl-preference"}).status_code == 400
        assert "spam" in here.get("/data").text
        here.submit(f"/data/{prompts[0].id}/quarantine", {"back": "1"})
        assert here.question()[0] is not None


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("a.exe", b"x"),
        ("", b"x"),
        ("../../etc/passwd", b"x"),
        ("a.jsonl", b""),
        ("a.jsonl", b"\xff\xfe\x00"),
        ("a.jsonl", b"not json"),
        ("a.jsonl", b'{"cut": '),
        ("a.json", b"[" * 50_000),
        ("a.jsonl", b'{"plaudit": "prompt"}'),
        ("a.jsonl", b'{"plaudit": "secret"}'),
        ("a.jsonl", b'{"plaudit": "feedback", "assignment": {"prompt_id": "x", "completion_ids": []}}'),
        ("a.jsonl", b'{"fields": {"response1": "a"}}'),
        ("a.json", b'[{"data": {"prompt": "p", "answer1": "a", "answer2": "b"}, "annotations": [{"result": [{}]}]}]'),
        ("a.csv", b"x;y\n1;2"),
        ("a.jsonl", b'{"prompt": "p", "chosen": "\\ud800", "rejected": "b"}'),
    ],
)
def test_a_file_that_is_none_is_refused_and_leaves_nothing(tmp_path, name, body):
    with running(tmp_path) as app:
        here = Browser(app)
        answer = here.post(
            f"/exchange/import?name={name}", content=body, headers={"x-csrf-token": here.csrf(), "accept": "application/json"}
        )
        assert answer.status_code == 400 and len(answer.json()["error"]) > 10
        with app.state.server.readers.lend() as store:
            assert store.counts()["prompts"] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"judgement": {"choice": "c"}},
        {"judgement": {}},
        {"source": "robot"},
        {"annotator": ""},
        {"assignment": {"prompt_id": "x", "completion_ids": ["a"], "kind": "pairwise", "reason": "r"}},
        {"assignment": {"prompt_id": "x", "completion_ids": ["a", "a"], "kind": "pairwise", "reason": "r"}},
        {"assignment": {"prompt_id": "x", "completion_ids": ["a", "b"], "kind": "telepathy", "reason": "r"}},
    ],
)
def test_an_act_that_no_conversion_could_read_never_gets_into_the_store(change):
    rows = export("plaudit", material()).rows
    place = next(i for i, row in enumerate(rows) if row["plaudit"] == "feedback")
    rows[place] = {**rows[place], **change}
    with pytest.raises(UserError, match=f"row {place + 1}: "):
        read_upload("a.jsonl", lines(rows))


def test_a_file_with_one_wrong_act_is_refused_whole():
    rows = export("plaudit", material()).rows
    rows[-1] = {**rows[-1], "assignment": {**rows[-1]["assignment"], "completion_ids": 3}}
    with pytest.raises(UserError, match=f"row {len(rows)}"):
        read_upload("a.jsonl", lines(rows))
