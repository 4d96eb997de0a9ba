"""Judge models that take a seat from the page: they compare, rate and rank, and are measured beside people."""

from __future__ import annotations

import re

from feedback_world import Browser, acts, judged, running, seeded
from openai_server import serving
from plaudit.store import Store


def test_a_judge_takes_a_seat_from_the_page_and_is_measured(tmp_path):
    prompts = seeded(tmp_path / "store.sqlite", questions=5, answers=("It left.", "I do not know."))
    with Store(tmp_path / "store.sqlite") as store:
        judged(store, prompts, lambda person, number: {"choice": "a", "strength": 1})

    def says(said):
        if "order 4" in said:
            return "hm", "stop"
        first = re.search(r"<A \w+>\n(.*)\n</A", said)[1]
        return f"<script>x</script> [[{'A' if first == 'It left.' else 'B'}]]", "stop"

    with serving(says=says) as server, running(tmp_path, judges=(f"{server.url}#toy",)) as app:
        here, seats = Browser(app), app.state.server.seats
        (name,) = seats.names
        assert here.submit("/mechanism/judge", {"judge": "other", "questions": "3", "kind": "pairwise"}).status_code == 404
        assert here.submit("/mechanism/judge", {"judge": name, "questions": "0", "kind": "pairwise"}).status_code == 400
        assert here.submit("/mechanism/judge", {"judge": name, "questions": "9", "kind": "pairwise"}).status_code == 303
        seats.wait()
        given = [act for act in acts(app) if act.source == "judge"]
        with app.state.server.readers.lend() as store:
            texts = {one.id: one.text for one in store.completions()}
        assert len(given) == 4 and {act.annotator for act in given} == {name}
        assert {texts[act.assignment.completion_ids["ab".index(act.judgement["choice"])]] for act in given} == {"It left."}
        found = here.get("/api/v1/judges").json()
        assert found["work"][0]["no verdict"] == 1 and found["work"][0]["judged"] == 4 and not found["work"][0]["going"]
        (measured,) = found["measured"]
        assert (measured["compared"], measured["agrees"]["mean"], measured["failed"]) == (4, 1.0, 1)
        page = here.get("/mechanism").text
        assert f"judge:{name}" in page and "<script>x" not in page and "Compare two answers: done, 4 of 5 judged" in page
        here.submit("/mechanism/rubric", {"rubric": "Shorter is better."})
        assert here.submit("/mechanism/judge", {"judge": name, "questions": "1", "kind": "pairwise"}).status_code == 303
        seats.wait()
        assert "Shorter is better." in server.asked[-1][1]["messages"][0]["content"]
        assert len({act.annotator for act in acts(app) if act.source == "judge"}) == 2, "another rubric, another seat"
        questions = here.get("/api/v1/status").json()["questions"]["pairwise"]
        assert questions["finished"] >= 1, "a judge model takes no question from people"


def test_a_judge_rates_and_ranks_too_and_is_measured_at_each(tmp_path):
    prompts = seeded(tmp_path / "store.sqlite", questions=3)
    with Store(tmp_path / "store.sqlite") as store:
        judged(store, prompts[:1], lambda person, number: {"stars": 4}, "rating")

    def says(said):
        if "<answer " in said:
            return "[[S1=4, S2=4, S3=4, S4=4]]", "stop"
        found = dict(re.findall(r"<([ABC]) \w+>\n(.*?)\n</", said, re.DOTALL))
        return f"[[{' > '.join(sorted(found, key=found.get))}]]", "stop"

    with serving(says=says) as server, running(tmp_path, judges=(f"{server.url}#toy",)) as app:
        here, seats = Browser(app), app.state.server.seats
        (name,) = seats.names
        headers = {"x-csrf-token": here.csrf()}
        for kind in ("rating", "ranking", "span"):
            status = here.post(
                "/api/v1/judges", json={"judge": name, "questions": 2, "kind": kind}, headers=headers
            ).status_code
            assert status == (422 if kind == "span" else 200)
            seats.wait()
        assert here.submit("/mechanism/judge", {"judge": name, "questions": "2", "kind": "span"}).status_code == 400
        given = [act for act in acts(app) if act.source == "judge"]
        assert [act.assignment.kind for act in given] == ["rating"] * 2 + ["ranking"] * 2
        assert given[0].judgement["aspects"] == {"helpful": 4, "correct": 4, "harmless": 4} and given[0].judgement["stars"] == 4
        with app.state.server.readers.lend() as store:
            texts = {one.id: one.text for one in store.completions()}
        for act in given[2:]:
            shown = [texts[one] for one in act.assignment.completion_ids]
            assert [shown[place] for (place,) in act.judgement["order"]] == sorted(shown)
        (measured,) = here.get("/api/v1/judges").json()["measured"]
        rating = next(one for one in measured["questions"] if one["question"] == "rating")
        assert rating["compared"] == 1 and rating["agrees"]["mean"] == 1.0, "what people rated came first"
        assert "Rank several answers: done, 2 of 2 judged" in here.get("/mechanism").text
