"""The demo's simulated panel and people at the pages go one road: the same reader, store, conversion, quality and export."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feedback_world import Browser, acts, running, seeded, token
from plaudit.feedback.screens.exchange import exported, material
from plaudit.judgements.pairwise import assignments, convert
from plaudit.judgements.panel import DEFAULT, Panel
from plaudit.judgements.quality import assess
from plaudit.store import Store

QUESTIONS = 6


def told(folder):
    """What the panel says of every pair: acts, as `plaudit demo` keeps them."""
    with Store(folder / "store.sqlite") as store:
        answers = store.completions()
        gold = {one.id: len(one.text) + one.index for one in answers}
        return Panel(seed=3).judge_all(assignments(answers, per_prompt=3), gold, votes=2)


def of_the_panel(folder, said):
    with Store(folder / "store.sqlite") as store:
        store.add_feedback(said)


def of_people(app, said):
    """The same, by accounts with the annotators' names, through the server."""
    people = {}
    for one in DEFAULT:
        app.state.server.writer.do(lambda store, name=one.name: store.add_account(name, "annotator", ""))
        people[one.name] = Browser(app)
        people[one.name].headers["authorization"] = f"Bearer {token(app, one.name)}"
    for number, act in enumerate(said):
        lease = app.state.server.questions.ask(act.annotator, act.assignment)
        body = {"lease": lease.id, "judgement": {"choice": act.judgement["choice"]}, "key": f"key-{number:06d}"}
        assert people[act.annotator].post("/api/v1/judgements", json=body).status_code == 200


@pytest.fixture
def both(tmp_path):
    """The application on the panel's acts, and that on the people's."""
    for name in ("panel", "people"):
        (tmp_path / name).mkdir()
        seeded(tmp_path / name / "store.sqlite", questions=QUESTIONS)
    said = told(tmp_path / "panel")
    of_the_panel(tmp_path / "panel", said)
    with running(tmp_path / "panel") as panel, running(tmp_path / "people") as people:
        of_people(people, said)
        yield panel, people


def rows(app):
    """What is trained on, without what tells the acts apart."""
    with app.state.server.readers.lend() as store:
        held = material(store)
    made = convert(held.feedback, held.completions, held.prompts)
    return [replace(row, meta={}) for row in made.rows], made.counts


def test_the_same_words_become_the_same_acts_pairs_figures_and_files(both):
    panel, people = both
    simulated, human = acts(panel), acts(people)
    assert {act.source for act in simulated} == {"simulated"} and {act.source for act in human} == {"human"}
    assert len(human) == QUESTIONS * 3 * 2
    assert [(a.assignment, a.judgement, a.annotator) for a in simulated] == [
        (a.assignment, a.judgement, a.annotator) for a in human
    ]
    assert rows(panel) == rows(people) and rows(panel)[0], "one conversion"
    figures = [assess(one, resamples=50) for one in (simulated, human)]
    assert figures[0].agreement == figures[1].agreement and figures[0].questions == figures[1].questions
    assert [one.accuracy for one in figures[0].annotators] == [one.accuracy for one in figures[1].annotators]
    for name in ("trl-preference", "openai-preference", "llamafactory-preference"):
        files = [exported(app.state.server, name)[0].rows for app in both]
        for row in (*files[0], *files[1]):
            for source in ("sources", "feedback"):
                row.pop(source, None)
        assert files[0] == files[1] and files[0], name


def test_only_the_source_tells_them_apart(both):
    """What simulated annotators say is marked as such wherever it goes."""
    panel, people = both
    sources = [exported(app.state.server, "plaudit")[0].rows[-1]["source"] for app in both]
    assert sources == ["simulated", "human"]
    lines = [app.state.server.quality().lines()[0] for app in (panel, people)]
    assert lines[0] != lines[1]
