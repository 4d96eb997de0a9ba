"""The pages on a PostgreSQL server: judged, asked again, decided, erased; a command writes beside them."""

from __future__ import annotations

from feedback_world import Browser, account, seeded
from plaudit.feedback.app import create_app
from plaudit.feedback.server import Settings
from plaudit.store import Store


def test_people_judge_chat_and_leave_on_a_server_of_postgresql(databases):
    url = databases()
    seeded(url)
    app = create_app(Settings(url))
    try:
        lin, ada = account(app, "lin", "admin"), account(app, "Ada Lovelace")
        for kind, form in (("pairwise", {"verdict": "a2"}), ("rating", {"stars": "4"}), ("correction", {"text": "It left."})):
            assert ada.judge(kind, **form).status_code == 200
        for page in ("/", "/data", "/people", "/disagreements", "/mechanism", "/exchange", "/account", "/judge/span"):
            assert lin.get(page).status_code == 200, page
        assert lin.submit("/mechanism/random", {"percent": "30"}).status_code == 303
        with Store(url) as command:
            (prompt, *_) = command.prompts()
            command.quarantine(prompt.id, "odd")
        ada.judge("pairwise", verdict="b1")
        assert prompt.id[:8] in lin.get("/data").text
        assert lin.submit("/exchange/export", {"format": "trl-preference"}).text.count("\n") == 2
        assert ada.submit("/account/delete", {"sure": "yes"}).status_code == 303
        assert "Lovelace" not in lin.get("/people").text + lin.get("/data").text
        assert Browser(app).get("/health").text == "ok"
    finally:
        app.state.server.close()
    with Store(url, readonly=True) as store:
        acts, (change,) = store.feedback(), store.changes()
    assert len(acts) == 4 and all(act.annotator.startswith("erased-") for act in acts)
    assert (change.setting, change.new) == ("assignment", {"random_share": 0.3})
