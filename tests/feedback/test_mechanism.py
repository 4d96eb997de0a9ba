"""How feedback is asked for: proposals and their history, the random arm, what is asked first."""

from __future__ import annotations

import json
import random

import pytest
import yaml

from feedback_world import Browser, account, acts, judged, running, seeded, token
from plaudit.feedback import deciding
from plaudit.judgements.proposals import always_tied, proposals
from plaudit.judgements.quality import assess
from plaudit.schema import Assignment, Feedback
from plaudit.store import Store

NUMBER = 60


def contrary(person, number):
    """One always prefers the first answer, the other every second time: they agree on half."""
    return {"choice": "a" if person == 0 or number % 2 else "b", "strength": 1}


@pytest.fixture
def noisy(tmp_path):
    """Pairs on which people agree by chance, and ratings: `helpful` by chance, `harmless` always five."""
    prompts = seeded(tmp_path / "store.sqlite", questions=NUMBER, answers=("It left.", "I do not know."))
    with Store(tmp_path / "store.sqlite") as store:
        judged(store, prompts, contrary)

        def stars(person, number):
            return {"stars": 4, "aspects": {"harmless": 5, "helpful": 1 + (number * (1 + 2 * person) + person) % 5}}

        judged(store, prompts, stars, "rating")
    return tmp_path


def test_what_the_judgements_propose(noisy):
    with Store(noisy / "store.sqlite", readonly=True) as store:
        found = proposals(assess(store.feedback(), resamples=50), store.feedback(), deciding.ASPECTS)
    assert [(one.rule, one.subject) for one in found if one.rule != "leave_person"] == [
        ("unclear", "pairwise"),
        ("unclear", "rating: helpful"),
        ("same", "harmless"),
        ("drop", "helpful"),
        ("weight_unclear", "helpful"),
    ]
    unclear = found[0].figures
    assert unclear["figure"] == 0.5 and unclear["low"] < 0.5 < unclear["high"] and unclear["answers"] == NUMBER
    assert found[2].figures == {"answers": 2 * NUMBER, "share": 1.0}
    noise = found[4].figures
    assert noise["low"] < 0.2 and (noise["from"], noise["to"]) == (1.0, round(max(0.0, noise["figure"]), 1))


def test_nothing_is_proposed_from_little_or_good_evidence(tmp_path):
    prompts = seeded(tmp_path / "store.sqlite", questions=NUMBER)
    with Store(tmp_path / "store.sqlite") as store:
        judged(store, prompts[:49], contrary)
        assert proposals(assess(store.feedback(), resamples=20), store.feedback(), deciding.ASPECTS) == []
    other = tmp_path / "other.sqlite"
    prompts = seeded(other, questions=NUMBER)
    with Store(other) as store:
        judged(store, prompts, lambda person, number: {"choice": "a" if number % 4 else "b", "strength": 1})
        assert proposals(assess(store.feedback(), resamples=20), store.feedback(), deciding.ASPECTS) == []


def test_prompts_that_are_always_a_tie_and_people_who_contradict_everybody(tmp_path):
    prompts = seeded(tmp_path / "store.sqlite", questions=NUMBER)

    def say(person, number):
        if number < 2:
            return {"choice": "both_bad"}
        right = "a" if number % 3 else "b"
        return {"choice": right if person < 3 else {"a": "b", "b": "a"}[right], "strength": 1}

    with Store(tmp_path / "store.sqlite") as store:
        judged(store, prompts, say, people=("ada", "ben", "cleo", "dan"))
        assert always_tied(store.feedback()) == tuple(prompt.id for prompt in prompts[:2])
        found = proposals(assess(store.feedback(), resamples=20), store.feedback(), deciding.ASPECTS)
        expected = [("unclear", "pairwise"), ("ties", ""), ("leave_person", "human:dan")]
        assert [(one.rule, one.subject) for one in found] == expected, (
            "three of six pairs of people agree: noise, by one's doing"
        )
        again = proposals(assess(store.feedback(), resamples=20), store.feedback(), deciding.ASPECTS, {"human:dan"})
        assert [one.rule for one in again] == ["unclear", "ties"]


def test_accepting_changes_what_is_asked_and_is_kept_with_its_evidence(noisy):
    with running(noisy) as app:
        here = Browser(app)
        page = here.get("/mechanism").text
        assert "people do not agree on pairwise" in page and "Agreement 50" in page
        open_ones = {(one.proposal.rule, one.proposal.subject): one.id for one in deciding.waiting(app.state.server)}
        unclear, same = open_ones["unclear", "pairwise"], open_ones["same", "harmless"]
        empty = here.submit(f"/mechanism/proposals/{unclear}", {"decision": "accept", "text": " "})
        assert empty.status_code == 400 and "what the guideline is to say" in empty.text
        text = "Prefer what is **true**. <script>alert(1)</script>"
        assert here.submit(f"/mechanism/proposals/{unclear}", {"decision": "accept", "text": text}).status_code == 303
        assert here.submit(f"/mechanism/proposals/{same}", {"decision": "accept", "note": "says nothing"}).status_code == 303
        assert here.submit(f"/mechanism/proposals/{same}", {"decision": "refuse"}).status_code == 404, "decided once"
        assert "Prefer what is" in here.get("/guideline").text
        assert "aspect-harmless" not in here.get("/judge/rating").text and "aspect-helpful" in here.get("/judge/rating").text
        with app.state.server.readers.lend() as store:
            kept, changes = store.proposals(), store.changes()
        assert {(one.decision, one.note) for one in kept} == {("accepted", ""), ("accepted", "says nothing")}
        assert {one.setting for one in changes} == {"guideline", "aspects"}
        assert {one.proposal for one in changes} == {unclear, same} and {one.by for one in changes} == {"local"}
        evidence = next(one for one in kept if one.id == same).content["evidence"]
        assert evidence["share"] == 1.0 and evidence["up_to_act"] == 4 * NUMBER and evidence["version"]
        page = here.get("/mechanism").text
        assert "<script>alert" not in page and "because:" in page and unclear not in page


def test_the_weight_of_an_aspect_that_says_nothing_of_the_preference(tmp_path):
    """`brief` is drawn by a coin whatever people prefer, `helpful` goes with it: only the first is to weigh less."""
    prompts = seeded(tmp_path / "store.sqlite", questions=200, answers=("It left.", "I do not know."))
    coin = random.Random(0)
    with Store(tmp_path / "store.sqlite") as store:
        judged(store, prompts, lambda person, number: {"choice": "a", "strength": 1}, people=("ada",))
        made = []
        for prompt in prompts:
            better = coin.random() < 0.5
            for place, one in enumerate(store.completions(prompt_id=prompt.id)[:2]):
                aspects = {"helpful": 5 - 3 * place, "brief": 5 if better == (place == 0) else 2}
                made += [
                    Feedback(Assignment(prompt.id, (one.id,), "rating"), {"stars": 3, "aspects": aspects}, who, "human")
                    for who in ("ben", "cleo")
                ]
        store.add_feedback(made)
        quality = assess(store.feedback(), resamples=20)
        found = [one for one in proposals(quality, store.feedback(), ()) if one.rule.startswith("weight")]
        again = proposals(quality, store.feedback(), (), weights={"brief": found[0].figures["to"]})
    assert [(one.rule, one.subject) for one in found] == [("weight_unrelated", "brief")]
    assert found[0].figures["low"] < 0.5 < found[0].figures["high"] < 0.6 and found[0].figures["answers"] == 200
    assert found[0].figures["from"] == 1.0 and found[0].figures["to"] <= 0.1
    assert [one for one in again if one.rule.startswith("weight")] == [], "it weighs that little already"
    lines = quality.lines()
    assert lines[lines.index(next(one for one in lines if one.startswith("helpful: ")))].startswith("helpful: 1.000")
    config = "reward_model_path: rm\naspect_weights: {brief: 1.0}\n"
    (tmp_path / "ppo.yaml").write_text(config)
    with running(tmp_path) as app:
        here, headers = Browser(app), {}
        page = here.get("/mechanism").text
        assert "Let brief weigh" in page and "of the preferences go with it, on 200 prompts" in page
        assert "aspect_weights" not in page, "nothing is to be changed yet"
        (one,) = (one for one in deciding.waiting(app.state.server) if one.proposal.rule == "weight_unrelated")
        headers = {"x-csrf-token": here.csrf()}
        said = here.post(f"/api/v1/proposals/{one.id}", json={"accept": True, "note": "so be it"}, headers=headers)
        assert said.status_code == 200
        to = one.proposal.figures["to"]
        found = here.get("/api/v1/weights").json()
        assert found == {"weights": {"brief": to}, "line": f"aspect_weights: {{brief: {to}}}", "places": ["ppo.yaml, line 2"]}
        page = here.get("/mechanism").text
        assert f"aspect_weights: {{brief: {to}}}" in page and "It replaces: ppo.yaml, line 2" in page
        assert f"because: Let brief weigh {to} instead of 1.0" in page
        with app.state.server.readers.lend() as store:
            (kept,), (change,) = store.proposals(), store.changes()
        assert (kept.decision, kept.note, change.setting, change.new) == (
            "accepted",
            "so be it",
            "aspect weights",
            {"brief": to},
        )
        assert kept.content["evidence"]["high"] < 0.6 and change.proposal == one.id
        assert not [one for one in deciding.waiting(app.state.server) if one.proposal.rule.startswith("weight")]


@pytest.mark.parametrize("name", ["no", "a: b", "{x}", "方面", "# x", "'", '"\n\\', "\u2028", "👩‍👧"])
def test_the_line_for_the_config_is_read_back_as_it_was_meant(name):
    line = deciding.weights_line({name: 0.2, "safe": 1.0})
    assert yaml.safe_load(line) == {"aspect_weights": {name: 0.2, "safe": 1.0}} and "\n" not in line


def test_what_was_refused_does_not_come_again(noisy):
    with running(noisy) as app:
        lin = account(app, "lin", "admin")
        lin.headers["authorization"] = f"Bearer {token(app, 'lin')}"
        (one, *_) = lin.get("/api/v1/proposals").json()["open"]
        body = {"accept": False, "note": "we know"}
        assert lin.post(f"/api/v1/proposals/{one['id']}", json=body).status_code == 200
        after = lin.get("/api/v1/proposals").json()
        assert one["id"] not in {other["id"] for other in after["open"]} and after["decided"][0]["note"] == "we know"
        assert lin.get("/api/v1/changes").json() == {"changes": []}
        ada = account(app, "ada2", "annotator")
        assert "Proposed changes" not in ada.get("/mechanism").text and ada.get("/api/v1/proposals").status_code == 403


def test_who_is_left_out_is_in_no_data_set_and_their_name_is_erased(tmp_path):
    prompts = seeded(tmp_path / "store.sqlite", questions=NUMBER)

    def say(person, number):
        right = "a" if number % 3 else "b"
        return {"choice": right if person < 3 else {"a": "b", "b": "a"}[right], "strength": 1}

    with Store(tmp_path / "store.sqlite") as store:
        judged(store, prompts, say, people=("ada", "ben", "cleo", "Dan Brown"))
    with running(tmp_path) as app:
        here, server = Browser(app), app.state.server
        (one,) = (one for one in deciding.waiting(server) if one.proposal.rule == "leave_person")
        assert one.proposal.subject == "human:Dan Brown" and "Dan" not in json.dumps(one.content)
        before = here.submit("/exchange/export", {"format": "trl-preference"}).text
        deciding.decide(server, one.id, True, "local")
        after = here.submit("/exchange/export", {"format": "trl-preference"}).text
        sure = [json.loads(line)["probability"] for line in after.splitlines()]
        assert len(sure) == NUMBER and after != before
        whole = here.submit("/exchange/export", {"format": "plaudit"}).text
        assert whole.count('"feedback"') >= 4 * NUMBER, "our own shape holds everything"
        assert "human:Dan Brown" in here.get("/mechanism").text
        account(app, "lin", "admin")
        viewer = account(app, "vera", "viewer")
        assert "Dan" not in viewer.get("/mechanism").text + viewer.get("/api/v1/changes").text, "a matter of admins"
        here.headers["authorization"] = f"Bearer {token(app, 'lin')}"
        server.writer.do(lambda store: store.erase(annotator="Dan Brown"), alone=True)
        assert "Dan Brown" not in here.get("/mechanism").text and "human:erased-" in here.get("/mechanism").text
        assert b"Dan Brown" not in b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite*"))


def test_the_random_share_is_set_from_the_page_and_every_change_kept(tmp_path):
    seeded(tmp_path / "store.sqlite")
    with running(tmp_path) as app:
        here = Browser(app)
        assert "70 %" in here.get("/mechanism").text
        assert here.submit("/mechanism/random", {"percent": "40"}).status_code == 303
        assert here.submit("/mechanism/random", {"percent": "140"}).status_code == 400
        assert here.submit("/mechanism/random", {"percent": "x"}).status_code == 400
        assert "40 %" in here.get("/mechanism").text and app.state.server.questions.random_share() == 0.4
        assert here.get("/api/v1/changes").json()["changes"][0]["new"] == "random_share 0.4"


def test_the_pair_that_the_reward_model_is_least_sure_of_is_asked_first(tmp_path):
    path = tmp_path / "store.sqlite"
    prompts = seeded(path, questions=12, answers=("It left.", "I do not know."))
    with running(tmp_path) as app:
        here, server = Browser(app), app.state.server
        server.questions.policy = type(server.questions.policy)(
            overlap_share=0.0, frozen_share=0.0, gold_early=0.0, repeat_share=0
        )
        assert here.submit("/mechanism/random", {"percent": "0"}).status_code == 303
        here.judge(verdict="a2")
        assert acts(app)[0].assignment.reason == "random", "without scores there is only the random arm"
        gaps = {prompt.id: abs(number - 7.2) for number, prompt in enumerate(prompts)}
        with Store(path) as command:  # as a run does, while the server is up
            scores = {}
            for prompt in prompts:
                first, second = command.completions(prompt_id=prompt.id)
                scores |= {first.id: gaps[prompt.id], second.id: 0.0}
            command.set_scores("reward-1/1", scores)
        for _ in range(3):
            here.judge(verdict="a2")
        done = {acts(app)[0].assignment.prompt_id}
        least_sure = [one for one in sorted(gaps, key=gaps.get) if one not in done]
        assert [act.assignment.reason for act in acts(app)[1:]] == ["active"] * 3
        assert [act.assignment.prompt_id for act in acts(app)[1:]] == least_sure[:3]
        page = here.get("/mechanism").text
        assert "scored 24 answers" in page and "least sure 3" in page and "at random 1" in page
