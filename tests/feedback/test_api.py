"""The API does what the pages do, is described, and answers any nonsense with a sentence."""

from __future__ import annotations

import json

import pytest

from feedback_world import Browser, account, acts, running, seeded, token
from plaudit.feedback.app import guarded


@pytest.fixture
def app(tmp_path):
    seeded(tmp_path / "store.sqlite", questions=2)
    with running(tmp_path) as app:
        yield app


def program(app, name="lin", role="admin"):
    account(app, name, role)
    browser = Browser(app)
    browser.headers["authorization"] = f"Bearer {token(app, name)}"
    return browser


def test_a_program_judges_undoes_skips_and_exports(app):
    lin = program(app)
    question = lin.post("/api/v1/questions/pairwise").json()["question"]
    assert len(question["answers"]) == 2 and "policy" not in json.dumps(question)
    body = {"lease": question["lease"], "judgement": {"choice": "a", "strength": 2}, "key": "k-000001", "seconds": 0.0}
    first, again = (lin.post("/api/v1/judgements", json=body) for _ in range(2))
    assert first.status_code == 200 and first.json() == again.json()
    changed = {**body, "judgement": {"choice": "tie"}, "key": "k-000002", "undo": True}
    assert lin.post("/api/v1/judgements", json=changed).status_code == 200
    assert [act.judgement["choice"] for act in acts(app)] == ["tie"]
    assert lin.get(f"/api/v1/leases/{question['lease']}").json()["question"]["outcome"] == "judged"
    other = lin.post("/api/v1/questions/rating").json()["question"]
    assert lin.post("/api/v1/skips", json={"lease": other["lease"], "why": "broken"}).status_code == 200
    assert lin.get("/api/v1/status").json()["counts"]["skipped"] == 1
    assert lin.post("/api/v1/export/plaudit").text.count("\n") == 2 + 6 + 2
    assert lin.get("/api/v1/quality").json()["acts"] == 1


def test_a_program_decides_disagreements_and_the_votes_are_settled(app):
    lin = program(app)
    ada, ben = account(app, "ada"), account(app, "ben")
    app.state.server.questions.policy = type(app.state.server.questions.policy)(overlap_share=1.0, gold_early=0.0)
    lease, key, _ = ada.question()
    ada.submit(f"/judge/{lease}", {"verdict": "a2", "key": key})
    with app.state.server.readers.lend() as store:
        shown = store.lease(lease).assignment
    other, key, _ = ben.question()
    with app.state.server.readers.lend() as store:
        same = store.lease(other).assignment.completion_ids == shown.completion_ids
    ben.submit(f"/judge/{other}", {"verdict": "b2" if same else "a2", "key": key})
    (found,) = lin.get("/api/v1/disagreements").json()["disagreements"]
    question = lin.post("/api/v1/disagreements", json={"unit": found["unit"]}).json()["question"]
    body = {"lease": question["lease"], "judgement": {"choice": "a", "strength": 3}, "key": "k-decides"}
    app.state.server.questions.changed()  # as after a restart
    usual = lin.post("/api/v1/questions/pairwise").json()["question"]
    assert usual is None or usual["lease"] != question["lease"], "what was chosen by hand does not come up by itself"
    assert lin.post("/api/v1/judgements", json=body).status_code == 200
    assert lin.get("/api/v1/disagreements").json() == {"disagreements": []}
    assert acts(app)[-1].assignment.reason == "adjudication"
    assert lin.post("/api/v1/disagreements", json={"unit": found["unit"]}).status_code == 404


def test_the_description_names_every_part_of_the_api(app):
    described = Browser(app).get("/api/v1/openapi.json").json()["paths"]
    for route, _ in guarded():
        if route.path.startswith("/api/") and route.include_in_schema:
            name = route.path.replace("{name:path}", "{name}")
            assert {method.lower() for method in route.methods} <= set(described[name]), route.path
    assert "/judge/{kind}" not in described


VALUES = [None, True, 0, -1, 2**63, 1.5, "", "x", "\x00", "🏳️‍🌈", "x" * 3000, [], [[]], {}, {"a": {}}, "0123456789abcdef"]


@pytest.mark.slow
def test_any_nonsense_gets_a_sentence_and_no_fault(app):
    """Every route of the API with wrong values for every field, parameter and path: nothing but 2xx and 4xx."""
    here = Browser(app)
    headers = {"x-csrf-token": here.csrf(), "accept": "application/json"}
    fields = ("lease", "judgement", "key", "seconds", "undo", "why", "reason", "role", "disabled", "text", "unit")
    tried = 0
    for route, _ in guarded():
        if not route.path.startswith("/api/"):
            continue
        for value in VALUES:
            path = route.path
            for name in ("kind", "lease", "prompt", "name:path", "name", "format"):
                path = path.replace(f"{{{name}}}", str(value)[:200].replace("\x00", "%00").replace("/", "%2F") or "-")
            for method in route.methods:
                for body in (json.dumps(dict.fromkeys(fields, value)), json.dumps(value), "{", ""):
                    content = {} if method in ("GET", "DELETE") else {"content": body.encode("utf-8", "replace")}
                    if content:
                        content["headers"] = {**headers, "content-type": "application/json"}
                    answer = here.request(method, path, **({"headers": headers} | content))
                    assert answer.status_code < 500, (method, path, body)
                    assert answer.status_code < 400 or "error" in answer.json(), (method, path, answer.text)
                    tried += 1
    assert tried > 1000


@pytest.mark.parametrize(
    "raw", [b'{"lease": "0123456789abcdef", "judgement": {"comment": "\\ud800"}, "key": "12345678"}', b"\xff"]
)
def test_text_that_is_no_unicode_is_refused(app, raw):
    here = Browser(app)
    headers = {"x-csrf-token": here.csrf(), "content-type": "application/json"}
    assert here.post("/api/v1/judgements", content=raw, headers=headers).status_code in (400, 422)
