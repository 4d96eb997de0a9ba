"""Who may come in: every route by enumeration, roles, sessions, tokens, invitations, forged posts, bad bodies."""

from __future__ import annotations

import html
import re
import time

import pytest

from feedback_world import Browser, account, acts, digest_of, running, seeded, token
from plaudit.feedback import passwords
from plaudit.feedback.app import guarded
from plaudit.schema import UserError
from plaudit.store.accounts import ROLES

PUBLIC = {"/login", "/join/{secret}", "/display", "/health"}


@pytest.fixture
def app(tmp_path):
    seeded(tmp_path / "store.sqlite")
    with running(tmp_path, hosts=frozenset({"testserver"})) as app:
        yield app


def paths():
    """(method, path with something in the place of each parameter, role) of every route."""
    for route, role in guarded():
        path = route.path
        for name in ("lease_id", "lease", "prompt_id", "prompt", "conversation", "token_id"):
            path = path.replace(f"{{{name}}}", "0123456789abcdef")
        path = (
            path.replace("{kind}", "pairwise").replace("{format}", "plaudit").replace("{name:path}", "x").replace("{name}", "x")
        )
        path = path.replace("{secret}", "x")
        for method in route.methods:
            yield method, path, role, route.path


def test_every_route_has_a_guard_and_only_these_are_open(app):
    assert {route.path for route in app.routes if hasattr(route, "path")} == {"/static"}, "a route outside of the walk"
    found = {(route.path, role) for route, role in guarded()}
    assert len(found) > 50
    assert {path for path, role in found if role == "public"} == PUBLIC
    assert {role for _, role in found} == {"public", *ROLES}


def test_nobody_comes_in_without_a_session_once_there_is_an_account(app):
    account(app, "lin", "admin")
    stranger = Browser(app)
    for method, path, _, template in paths():
        if template in PUBLIC:
            continue
        for headers in ({}, {"authorization": "Bearer nonsense"}, {"cookie": "plaudit_session=nonsense"}):
            page = stranger.request(method, path, headers=headers)
            program = stranger.request(method, path, headers={**headers, "accept": "application/json"})
            assert page.status_code in (303, 401) and page.headers.get("location", "/login").startswith("/login"), path
            assert program.status_code == 401, path


@pytest.mark.parametrize("role", ["viewer", "annotator"])
def test_a_lower_role_is_refused_whatever_asks_for_a_higher_one(app, role):
    account(app, "lin", "admin")
    mine = account(app, "ada", role)
    csrf = mine.csrf()
    secret = token(app, "ada")
    for method, path, needed, _ in paths():
        if needed != "public" and ROLES.index(needed) > ROLES.index(role):
            headers = {"accept": "application/json", "x-csrf-token": csrf}
            assert mine.request(method, path, headers=headers).status_code == 403, path
            headers = {"authorization": f"Bearer {secret}", "accept": "application/json"}
            assert Browser(app).request(method, path, headers=headers).status_code == 403, path


def test_a_post_without_the_token_of_this_session_is_refused(app):
    lin, ada = account(app, "lin", "admin"), account(app, "ada", "admin")
    for method, path, role, _ in paths():
        if method in ("GET", "HEAD") or role == "public":
            continue
        for forged in ("", "0" * 32, ada.csrf()):
            answer = lin.request(method, path, headers={"accept": "application/json", "x-csrf-token": forged})
            assert answer.status_code == 403, (path, forged)


def test_this_machine_needs_no_login_until_there_is_an_account(app):
    here = Browser(app)
    assert here.get("/").status_code == 200 and here.judge(verdict="a2").status_code == 200
    assert here.post("/guideline", data={"guideline": "x"}).status_code == 403, "a page elsewhere knows no token"
    account(app, "lin", "admin")
    assert here.get("/").status_code == 303


def test_a_server_for_others_needs_a_login_from_the_start(tmp_path):
    with running(tmp_path, local=False) as app:
        assert Browser(app).get("/").status_code == 303
        assert account(app, "lin", "admin").get("/people").status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "http://testserver.evil.example"},
        {"origin": "http://["},
    ],
)
def test_what_another_site_sends_is_refused(app, headers):
    here = Browser(app)
    answer = here.submit("/guideline", {"guideline": "x"}, headers=headers)
    assert answer.status_code == 403 and "site" in answer.json()["error"]


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "a@testserver", "", "[", "[::1"])
def test_a_name_that_is_not_ours_is_not_answered(app, host):
    assert Browser(app).get("/", headers={"host": host}).status_code == 421


def test_wrong_passwords_say_nothing_and_wait_in_the_end(app):
    account(app, "lin", "admin")
    stranger = Browser(app)
    said = set()
    for name in ("lin", "nobody"):
        answer = stranger.post("/login", data={"name": name, "password": "wrong"})
        assert answer.status_code == 403
        said.add(answer.text.split("problem")[1][:120])
    assert len(said) == 1
    for _ in range(9):
        stranger.post("/login", data={"name": "lin", "password": "wrong"})
    assert "wait" in stranger.post("/login", data={"name": "lin", "password": "correct horse"}).text


def test_login_logout_and_an_expired_session(app):
    lin = account(app, "lin", "admin")
    cookie = lin.cookies["plaudit_session"]
    assert "HttpOnly" in Browser(app).post("/login", data={"name": "lin", "password": "correct horse"}).headers["set-cookie"]
    lin.post("/logout", data={"csrf": lin.csrf()})
    assert Browser(app).get("/", headers={"cookie": f"plaudit_session={cookie}"}).status_code == 303
    again = Browser(app)
    away = again.post("/login", data={"name": "lin", "password": "correct horse", "next": "//evil.example"})
    assert away.headers["location"] == "/" and again.get("/people").status_code == 200
    app.state.server.writer.do(lambda store: store.db.execute("UPDATE sessions SET expires_at = ?", (time.time() - 1,)))
    assert again.get("/people").headers["location"] == "/login?next=%2Fpeople"
    assert digest_of(again) != again.cookies["plaudit_session"]


@pytest.mark.parametrize(
    "asked", ["/runs/a%26next%3D//evil.example", "/runs/50%25%23x", "/runs/%E4%BD%A0%3Fa", "/data?a=1&next=//evil.example"]
)
def test_a_login_leads_back_to_the_very_page_that_was_asked_for(app, asked):
    account(app, "lin", "admin")
    stranger = Browser(app)
    door = stranger.get(asked).headers["location"]
    form = stranger.get(door).text.split('<form method="post" action="/login"')[1]
    back = html.unescape(re.search(r'name="next" value="([^"]*)"', form)[1])
    answer = stranger.post("/login", data={"name": "lin", "password": "correct horse", "next": back})
    assert answer.status_code == 303 and answer.headers["location"] == asked
    assert stranger.submit("/display", {"language": "zh", "next": back}).headers["location"] == asked


@pytest.mark.parametrize(
    ("form", "back"),
    [("http://testserver/people?a=1", "/people?a=1"), ("http://evil.example/people", "/"), ("http://[", "/"), ("", "/")],
)
def test_another_language_after_a_form_leads_to_the_page_of_the_form(app, form, back):
    page = Browser(app).submit("/people/invite", {"role": "admin"}, headers={"referer": form})
    assert re.findall(r'name="next" value="([^"]*)"', page.text) == [back, back]


def test_a_changed_password_ends_the_other_sessions(app):
    lin = account(app, "lin", "admin")
    other = Browser(app)
    other.post("/login", data={"name": "lin", "password": "correct horse"})
    changed = lin.post("/account/password", data={"csrf": lin.csrf(), "old": "correct horse", "new": "battery staple"})
    assert changed.status_code == 303 and lin.get("/").status_code == 200 and other.get("/").status_code == 303


def test_an_invitation_works_once_and_only_for_names_one_can_see(app):
    gate = app.state.server.gate
    account(app, "lin", "admin")
    secret = gate.invite("annotator")
    for name in ("", "local", "erased-1", "a\u202eb", "x" * 61, "lin"):
        answer = Browser(app).post(f"/join/{secret}", data={"name": name, "password": "correct horse"})
        assert answer.status_code == 400, name
    assert Browser(app).post(f"/join/{secret}", data={"name": "ada", "password": "short"}).status_code == 400
    assert Browser(app).post(f"/join/{secret}", data={"name": "ada", "password": "correct horse"}).status_code == 303
    assert Browser(app).post(f"/join/{secret}", data={"name": "eve", "password": "correct horse"}).status_code == 400


def test_a_token_works_until_it_is_taken_back_and_is_stored_nowhere(app, tmp_path):
    lin = account(app, "lin", "admin")
    page = lin.post("/account/token", data={"csrf": lin.csrf(), "label": "script"}).text
    secret = page.split('class="secret">')[1].split("<")[0]
    asked = {"authorization": f"Bearer {secret}"}
    assert Browser(app).get("/api/v1/me", headers=asked).json() == {"name": "lin", "role": "admin"}
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite*"))
    assert secret.encode() not in kept and b"correct horse" not in kept and lin.cookies["plaudit_session"].encode() not in kept
    shown = passwords.digest(secret)[:8]
    lin.post(f"/account/token/{shown}/revoke", data={"csrf": lin.csrf()})
    assert Browser(app).get("/api/v1/me", headers=asked).status_code == 401


def test_the_last_admin_stays(app):
    lin = account(app, "lin", "admin")
    for path, form in (("/people/lin/role", {"role": "viewer"}), ("/people/lin/disable", {"disabled": "1"})):
        assert lin.submit(path, form).status_code == 400
    assert lin.submit("/account/delete", {"sure": "yes"}).status_code == 400
    account(app, "ada", "admin")
    assert lin.submit("/people/ada/disable", {"disabled": "1"}).status_code == 303


def test_figures_of_a_person_are_for_admins_and_that_person(app):
    lin, ada, ben = account(app, "lin", "admin"), account(app, "Ada L"), account(app, "ben", "viewer")
    ada.judge(verdict="a2")
    ada.submit("/account/about", {"languages": "en"})
    assert "human:Ada L" in lin.get("/data").text and "human:Ada L" in lin.get("/people").text
    assert "Ada L" not in ben.get("/data").text and "1 acts" in ben.get("/data").text
    assert "<h2>Your judgements" in ada.get("/account").text and "<h2>Your judgements" not in ben.get("/account").text
    said = lin.get("/api/v1/quality").json()["people"]
    assert said[0]["dimension"] == "languages", "who judges, so far as they say"


def test_deleting_ones_data_takes_name_and_words_and_leaves_the_judgement(app, tmp_path):
    lin = account(app, "lin", "admin")
    ada = account(app, "Ada Lovelace")
    ada.judge(verdict="a2", comment="my secret words")
    ada.submit("/account/about", {"region": "Ockham"})
    assert ada.submit("/account/delete", {"sure": ""}).status_code == 400
    assert ada.submit("/account/delete", {"sure": "yes"}).status_code == 303
    (act,) = acts(app)
    assert act.judgement == {"choice": "a", "strength": 2} and act.annotator.startswith("erased-")
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("store.sqlite*"))
    for word in (b"Lovelace", b"secret words", b"Ockham"):
        assert word not in kept, word
    assert lin.get("/data").text.count("annotator") and ada.get("/").status_code == 303


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"comment=%FF%FE", "application/x-www-form-urlencoded"),
        (b'{"comment": "\\ud800"}', "application/json"),
        (b"[1]", "application/json"),
        (b'{"a": NaN}', "application/json"),
        (b"{" * 100_000, "application/json"),
        (b'{"a":' * 20_000 + b"1" + b"}" * 20_000, "application/json"),
        (b"a=1&" * 3000, "application/x-www-form-urlencoded"),
    ],
)
def test_bodies_that_cannot_be_read_are_refused(app, body, kind):
    here = Browser(app)
    lease = here.question()[0]
    headers = {"x-csrf-token": here.csrf(), "content-type": kind, "accept": "application/json"}
    answer = here.post(f"/judge/{lease}", content=body, headers=headers)
    assert answer.status_code == 400 and "error" in answer.json() and acts(app) == []


def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(app):
    here = Browser(app)
    headers = {"x-csrf-token": here.csrf(), "accept": "application/json", "content-type": "application/json"}
    assert here.post("/guideline", content=b"x" * 2_000_001, headers=headers).status_code == 413
    assert here.post("/guideline", content=(b"x" * 100_000 for _ in range(30)), headers=headers).status_code == 413


def test_passwords_are_salted_and_checked():
    one, two = (passwords.hashed("correct horse") for _ in range(2))
    assert one != two and passwords.fits("correct horse", one) and not passwords.fits("correct horsf", one)
    assert not passwords.fits("", "") and not passwords.fits("x", "plain$00$x")
    for wrong in ("short", "x" * 201):
        with pytest.raises(UserError):
            passwords.hashed(wrong)
    assert passwords.derived("a", "csrf") != passwords.derived("b", "csrf")
