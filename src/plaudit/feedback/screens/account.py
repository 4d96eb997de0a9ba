"""Coming in and going out, one's own settings and tokens, and deleting one's own data."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import RedirectResponse, Response

from plaudit.feedback import passwords
from plaudit.feedback.asking import PUBLIC, Ask, ask
from plaudit.feedback.identity import COOKIE, LOCAL, SESSION_SECONDS
from plaudit.feedback.language import LANGUAGES
from plaudit.schema import UserError
from plaudit.store import Store

router = APIRouter()
Anyone = Annotated[Ask, Depends(ask(PUBLIC))]
Viewing = Annotated[Ask, Depends(ask("viewer"))]
ABOUT = ("languages", "region", "age", "gender", "occupation", "uses_the_product")
"""What people may say of themselves, so that it can be seen whether they stand for those whom the product serves."""
YEAR = 365 * 86400


@router.get("/login")
def login_page(asked: Anyone) -> Response:
    if asked.person is not None:
        return asked.go("/")
    return asked.page("login.html", next=local_path(asked.request.query_params.get("next", "/")), problem="")


@router.post("/login")
def login(asked: Anyone) -> Response:
    try:
        secret = asked.server.gate.login(asked.text("name", 200), asked.text("password", 1000))
    except UserError as refused:
        return asked.page("login.html", 403, next=local_path(asked.text("next")), problem=asked.said(refused))
    return _with_session(asked, asked.go(local_path(asked.text("next"))), secret)


@router.post("/logout")
def logout(asked: Viewing) -> Response:
    secret = asked.request.cookies.get(COOKIE, "")
    asked.server.writer.do(lambda store: store.close_session(passwords.digest(secret)))
    gone = asked.go("/login")
    gone.delete_cookie(COOKIE)
    return gone


@router.get("/join/{secret}")
def join_page(asked: Anyone, secret: str) -> Response:
    return asked.page("join.html", secret=secret, problem="", name="")


@router.post("/join/{secret}")
def join(asked: Anyone, secret: str) -> Response:
    """An invitation becomes an account."""
    name = asked.text("name", 200)
    try:
        session = asked.server.gate.join(secret, name, asked.text("password", 1000))
    except UserError as refused:
        return asked.page("join.html", 400, secret=secret, problem=asked.said(refused), name=name)
    return _with_session(asked, asked.go("/"), session)


@router.post("/display")
def display(asked: Anyone) -> Response:
    """Language and theme, kept in the browser."""
    back = asked.go(local_path(asked.text("next")))
    for name, allowed in (("language", LANGUAGES), ("theme", ("light", "dark", "system"))):
        value = asked.text(name, 20)
        if value in allowed:
            back.set_cookie(name, value, max_age=YEAR, samesite="lax", httponly=True)
    return back


@router.get("/account")
def account(asked: Viewing) -> Response:
    return _account(asked)


@router.post("/account/about")
def about(asked: Viewing) -> Response:
    said = {name: asked.text(name, 200).strip() for name in ABOUT}
    kept = {name: value for name, value in said.items() if value}
    if asked.me.name == LOCAL:
        asked.server.writer.do(lambda store: store.set_setting("about local", kept))
    else:
        asked.server.writer.do(lambda store: store.change_account(asked.me.name, about=kept))
    return asked.go("/account", done="about")


@router.post("/account/password")
def password(asked: Viewing) -> Response:
    """Another password; every session ends, and a new one begins here."""
    gate, name = asked.server.gate, _named(asked)
    gate.login(name, asked.text("old", 1000))
    hashed = passwords.hashed(asked.text("new", 1000))
    changed = asked.server.writer.do(lambda store: store.change_account(name, password=hashed))
    return _with_session(asked, asked.go("/account", done="password"), gate.session(changed))


@router.post("/account/token")
def token(asked: Viewing) -> Response:
    """A token for programs, shown once."""
    return _account(asked, token=asked.server.gate.token(_named(asked), asked.text("label", 100)))


@router.post("/account/token/{token_id}/revoke")
def revoke(asked: Viewing, token_id: str) -> Response:
    asked.server.writer.do(lambda store: store.revoke_token(asked.me.name, token_id))
    return asked.go("/account", done="revoked")


@router.post("/account/delete")
def delete(asked: Viewing) -> Response:
    """Deletes what the person wrote and the person's name; acts of feedback stay without both."""
    if asked.text("sure", 10) != "yes":
        raise UserError("tick the box to delete your data")
    forget(asked, asked.me.name)
    gone = asked.go("/")
    gone.delete_cookie(COOKIE)
    return gone


def forget(asked: Ask, name: str) -> None:
    """Erases the prompts that only this person asked, the person's words and name, and the account."""

    def erase(store: Store) -> None:
        for prompt_id in store.said_by(name):
            store.erase(prompt_id=prompt_id)
        store.forget_conversations(name)
        if name != LOCAL:
            account = store.account(name)
            if account.role == "admin":
                store.change_account(name, disabled=True)  # refused for the last admin, who could not be replaced
        store.erase(annotator=name)

    asked.server.writer.do(erase, alone=True)
    asked.server.questions.changed()


def _account(asked: Ask, token: str = "") -> Response:
    with asked.server.readers.lend() as store:
        if asked.me.name == LOCAL:
            tokens, said = [], store.setting("about local", {})
        else:
            tokens, said = store.tokens(asked.me.name), store.account(asked.me.name).about
    done = asked.request.query_params.get("done", "")
    mine = asked.server.own_figures(asked.me.name)
    return asked.page("account.html", tokens=tokens, token=token, about=said, fields=ABOUT, done=done, mine=mine)


def _named(asked: Ask) -> str:
    if asked.me.name == LOCAL:
        raise UserError("there are no accounts yet: make one on the page People first")
    return asked.me.name


def _with_session(asked: Ask, answer: RedirectResponse, secret: str) -> Response:
    secure = asked.request.url.scheme == "https"
    answer.set_cookie(COOKIE, secret, max_age=int(SESSION_SECONDS), httponly=True, samesite="lax", secure=secure)
    return answer


def local_path(path: str) -> str:
    """A path of ours, whatever was asked for."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() else "/"
