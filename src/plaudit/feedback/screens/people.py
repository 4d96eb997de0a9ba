"""Who is there, what they may do, and how sure their judgements are. For admins; each person sees only their own figures."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from plaudit.feedback.asking import Ask, ask
from plaudit.feedback.identity import LOCAL
from plaudit.feedback.screens.account import forget
from plaudit.schema import UserError
from plaudit.store.accounts import ROLES

router = APIRouter()
Admin = Annotated[Ask, Depends(ask("admin"))]


@router.get("/people")
def people(asked: Admin) -> Response:
    return _people(asked)


@router.post("/people/invite")
def invite(asked: Admin) -> Response:
    """A link that makes one account."""
    role = asked.text("role", 20)
    if asked.me.name == LOCAL and role != "admin":
        with asked.server.readers.lend() as store:
            if not any(one.role == "admin" for one in store.accounts()):
                raise UserError("the first account must be an admin's, or nobody could let others in")
    secret = asked.server.gate.invite(role)
    base = str(asked.request.base_url).rstrip("/")
    return _people(asked, link=f"{base}/join/{secret}")


@router.post("/people/{name}/role")
def role(asked: Admin, name: str) -> Response:
    asked.server.writer.do(lambda store: store.change_account(name, role=asked.text("role", 20)))
    return asked.go("/people")


@router.post("/people/{name}/disable")
def disable(asked: Admin, name: str) -> Response:
    """Closes an account or opens it again; what the person said stays."""
    closed = asked.text("disabled", 1) == "1"
    asked.server.writer.do(lambda store: store.change_account(name, disabled=closed))
    return asked.go("/people")


@router.post("/people/{name}/erase")
def erase(asked: Admin, name: str) -> Response:
    """Deletes a person's name and words on request."""
    if asked.text("sure", 10) != "yes":
        raise UserError("tick the box to delete somebody's data")
    forget(asked, name)
    return asked.go("/people")


def _people(asked: Ask, link: str = "") -> Response:
    with asked.server.readers.lend() as store:
        accounts = store.accounts()
    quality = asked.server.quality()
    return asked.page("people.html", accounts=accounts, roles=ROLES, link=link, quality=quality)
