"""Requests of every kind that the API's own description allows or forbids: none is answered with a fault.

schemathesis makes the requests. A few hundred in every run of the tests; `make fuzz` sends 5,000 (FUZZ_CASES).
"""

from __future__ import annotations

import itertools
import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from feedback_world import Browser, account, running, seeded, token

schemathesis = pytest.importorskip("schemathesis")
CASES = int(os.environ.get("FUZZ_CASES", "300"))
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
QUIETLY = settings(database=None, deadline=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck))
MOST_ROUNDS = 20


@pytest.fixture
def world(tmp_path):
    """(application, a program with an admin's token, real values of the parameters)."""
    prompts = seeded(tmp_path / "store.sqlite", questions=3)
    run = tmp_path / "runs" / "ppo-1"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    with running(tmp_path) as app:
        account(app, "lin", "admin"), account(app, "ada")
        lin = Browser(app)
        lin.headers["authorization"] = f"Bearer {token(app, 'lin')}"
        leases = [lin.post(f"/api/v1/questions/{kind}").json()["question"]["lease"] for kind in ("pairwise", "rating", "span")]
        known = {
            "prompt": [one.id for one in prompts],
            "lease": leases,
            "name": ["ada", "ppo-1"],
            "kind": ["pairwise", "rating"],
        }
        yield app, lin, known


@pytest.mark.slow
def test_no_request_is_answered_with_a_fault(world):
    app, lin, known = world
    described = schemathesis.openapi.from_dict(app.openapi())
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) > 20
    answers = Counter()

    def look(operation, mode, number, turn):
        @seed(turn)
        @settings(QUIETLY, max_examples=number)
        @given(st.data())
        def send(data):
            case = data.draw(operation.as_strategy(generation_mode=mode))
            meant = {**(case.path_parameters or {})}
            for name, values in known.items():  # half of the requests are about something that is there
                if name in meant and data.draw(st.booleans()):
                    meant[name] = data.draw(st.sampled_from(values))
            case.path_parameters = meant
            if isinstance(case.body, dict) and "lease" in case.body and data.draw(st.booleans()):
                case.body["lease"] = data.draw(st.sampled_from(known["lease"]))
            sent = case.as_transport_kwargs(base_url="http://testserver")
            content = {name: sent[name] for name in ("headers", "json", "params") if sent.get(name) is not None}
            if sent.get("data") is not None:
                content["content"] = sent["data"]
            answer = lin.request(sent["method"], sent["url"], **content)
            answers[answer.status_code] += 1
            assert answer.status_code < 500, (sent, answer.text)
            assert answer.status_code < 400 or "error" in answer.json(), (sent, answer.text)

        try:
            send()
        except Unsatisfiable:  # nothing can be sent that is against its description
            assert mode is NEGATIVE, operation.label
            anything_goes.add(operation.label)

    anything_goes = set()
    asking = [one for one in operations if one.body or one.path_parameters or one.query]
    for one in operations:
        look(one, POSITIVE, 1, 0)  # what takes nothing has one form
    for turn in range(1, MOST_ROUNDS):  # what takes few values runs out of them, and leaves its share to the others
        missing = CASES - answers.total()
        for one, mode in itertools.product(asking, (POSITIVE, NEGATIVE)):
            if one.label not in anything_goes or mode is POSITIVE:
                look(one, mode, max(1, -(-missing // (2 * len(asking)))), turn)
        if answers.total() >= CASES:
            break
    print(f"{answers.total():,} requests: {dict(sorted(answers.items()))}")
    assert len(anything_goes) < len(asking) / 2, anything_goes
    assert answers.total() >= CASES and {200, 400, 404, 422} <= set(answers)
