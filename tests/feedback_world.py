"""A small project with questions and answers, and a client that acts as a browser does."""

from __future__ import annotations

import re
from contextlib import contextmanager

from starlette.testclient import TestClient

from plaudit.feedback import passwords
from plaudit.feedback.app import create_app
from plaudit.feedback.server import Settings
from plaudit.schema import Assignment, Completion, Feedback, Message, Prompt
from plaudit.store import Store

ANSWERS = ("It left **yesterday**.", "I do not know.", "Please wait a little longer. It will come.")


def seeded(path, questions=4, answers=ANSWERS):
    """A store with `questions` prompts, each with the same answers; returns the prompts."""
    prompts = [Prompt(messages=(Message("user", f"Where is order {number}?"),)) for number in range(questions)]
    with Store(path) as store:
        store.add_prompts(prompts)
        store.add_completions(
            Completion(prompt.id, text, (), (), (), "stop", f"model-{place}", place, place)
            for prompt in prompts
            for place, text in enumerate(answers)
        )
    return prompts


@contextmanager
def running(folder, **settings):
    """The application on the store of a folder, closed at the end."""
    app = create_app(Settings(folder / "store.sqlite", runs=folder / "runs", **settings))
    try:
        yield app
    finally:
        app.state.server.close()


class Browser(TestClient):
    """A client that keeps cookies, does not follow redirects, and sends the page's token with every form."""

    def __init__(self, app):
        super().__init__(app, follow_redirects=False, raise_server_exceptions=False)

    def csrf(self, path="/help"):
        found = re.search(r'name="csrf" content="([^"]*)"', self.get(path).text)
        return found[1] if found else ""

    def submit(self, path, form=None, **options):
        """A form, as the script sends it."""
        headers = {"x-csrf-token": self.csrf(), "accept": "application/json", **options.pop("headers", {})}
        return self.post(path, data=form or {}, headers=headers, **options)

    def question(self, kind="pairwise"):
        """(lease, key, page) of the next question."""
        page = self.get(f"/judge/{kind}").text
        lease = re.search(r'action="/judge/([0-9a-f]{16})"', page)
        key = re.search(r'name="key" value="([^"]+)"', page)
        return (lease[1], key[1], page) if lease and key else (None, None, page)

    def judge(self, kind="pairwise", **form):
        lease, key, _ = self.question(kind)
        return self.submit(f"/judge/{lease}", {"key": key, "seconds": "1.5", **form})


def account(app, name, role="annotator", password="correct horse"):
    """A browser that is logged in as a new account."""
    secret = app.state.server.gate.invite(role)
    browser = Browser(app)
    answer = browser.post(f"/join/{secret}", data={"name": name, "password": password, "csrf": browser.csrf(f"/join/{secret}")})
    assert answer.status_code == 303, answer.text
    return browser


def token(app, name):
    """An API token of an account."""
    return app.state.server.gate.token(name, "test")


def digest_of(browser):
    """What the store has of the browser's session."""
    return passwords.digest(browser.cookies["plaudit_session"])


def acts(app, **options):
    with app.state.server.readers.lend() as store:
        return store.feedback(**options)


def judged(store, prompts, say, kind="pairwise", people=("ada", "ben")):
    """Everybody on the first answers of every prompt; `say(person, number)` is the judgement."""
    made = []
    for number, prompt in enumerate(prompts):
        ids = [one.id for one in store.completions(prompt_id=prompt.id)][: 2 if kind == "pairwise" else 1]
        for place, who in enumerate(people):
            said = say(place, number)
            if said is not None:
                made.append(Feedback(Assignment(prompt.id, tuple(ids), kind), said, who, "human"))
    store.add_feedback(made)
