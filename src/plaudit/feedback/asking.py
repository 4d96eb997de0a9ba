"""What every page and every part of the API gets of a request: who asks, in which language, and the checked form.

`ask(role)` guards a route. A route without it is refused at start (`app.create_app`), so that none is open by oversight.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from plaudit.feedback import passwords
from plaudit.feedback.identity import COOKIE, Person
from plaudit.feedback.language import LANGUAGES, preferred, say, translated
from plaudit.feedback.protection import parts
from plaudit.feedback.server import Server
from plaudit.schema import JSON, UserError

Value = TypeVar("Value")
PUBLIC = "public"
MOST_FIELDS = 2000


class LoginNeeded(Exception):
    """Nobody is known who may see this."""


class Forbidden(UserError):
    """The person may not do this."""


@dataclass(frozen=True)
class Ask:
    """One request. `form` has the last value of each field of a form, or the JSON object that was sent."""

    request: Request
    server: Server
    person: Person | None
    language: str
    form: JSON = field(default_factory=dict)

    @property
    def me(self) -> Person:
        """The person; only routes that need a role have one for sure."""
        if self.person is None:
            raise LoginNeeded
        return self.person

    def said(self, problem: UserError) -> str:
        """What went wrong, in the page's language."""
        return translated(self.language, str(problem))

    def text(self, name: str, longest: int = 200_000) -> str:
        """A field as text, '' where it is not there. UserError for one that is too long or no text."""
        value = self.form.get(name, "")
        if not isinstance(value, str):
            raise UserError(f"{name} must be text")
        if len(value) > longest:
            raise UserError(f"{name} is longer than {longest:,} characters: shorten it")
        return value.replace("\r\n", "\n")

    def page(self, template: str, code: int = 200, **values: Any) -> HTMLResponse:
        """An HTML page from a template."""
        theme = self.request.cookies.get("theme", "")
        made = self.server.templates.get_template(template).render(
            ask=self,
            person=self.person,
            csrf=self.person.csrf if self.person else "",
            language=self.language,
            languages=LANGUAGES,
            theme=theme if theme in ("light", "dark") else "",
            t=lambda key, **words: say(self.language, key, **words),
            path=self.request.url.path,
            here=here(self.request),
            project=self.server.project,
            **values,
        )
        return HTMLResponse(made, code)

    def go(self, path: str, **query: str) -> RedirectResponse:
        """To another page, after a form was taken in."""
        return RedirectResponse(f"{path}?{urlencode(query)}" if query else path, 303)

    @property
    def wants_json(self) -> bool:
        return wants_json(self.request)


def wants_json(request: Request) -> bool:
    """Whether a program or our script asks, not a browser that wants a page."""
    return request.url.path.startswith("/api/") or "application/json" in request.headers.get("accept", "")


def here(request: Request) -> str:
    """Where a request went on this server, encoded as a link is: what `next` brings somebody back to.

    What a form was sent to cannot be opened: there it is the page with the form.
    """
    if request.method not in ("GET", "HEAD"):
        form = parts(request.headers.get("referer", ""))
        return form._replace(scheme="", netloc="").geturl() or "/" if form.netloc == request.url.netloc else "/"
    query = request.scope["query_string"].decode("latin-1")
    return quote(request.scope["path"]) + (f"?{query}" if query else "")


def ask(role: str, *, raw: bool = False) -> Callable[[Request], Awaitable[Ask]]:
    """A dependency that gives the `Ask` of a request, and refuses people without the role and forms that are not ours.

    `raw`: the body is a file, so that the CSRF token comes in the header only.
    """

    async def asked(request: Request) -> Ask:
        server = cast(Server, request.app.state.server)
        chosen = request.cookies.get("language", "")
        language = chosen if chosen in LANGUAGES else preferred(request.headers.get("accept-language", ""))
        person = await run_in_threadpool(server.gate.who, request.cookies.get(COOKIE), request.headers.get("authorization"))
        request.state.ask = Ask(request, server, person, language)
        if role != PUBLIC:
            if person is None:
                raise LoginNeeded
            if not person.may(role):
                raise Forbidden(f"this needs the role {role}: ask an admin")
        form: JSON = {}
        if request.method not in ("GET", "HEAD"):
            if not raw and not request.url.path.startswith("/api/"):
                form = read_form(await request.body(), request.headers.get("content-type", ""))
            if person is not None and person.via != "token":
                _check_csrf(request.headers.get("x-csrf-token") or form.pop("csrf", ""), person)
        return Ask(request, server, person, language, form)

    asked.role = role  # type: ignore[attr-defined]  # what the walk over all routes looks at
    return asked


def _check_csrf(given: Any, person: Person) -> None:
    if not isinstance(given, str) or not passwords.same(given, person.csrf):
        raise Forbidden("this form is not from a page of yours, or the page is too old: load it again")


def read_form(body: bytes, kind: str) -> JSON:
    """The fields of a form or of a JSON object. UserError for anything else, and for text that is no Unicode."""
    try:
        text = body.decode("utf-8")
        if "json" in kind:
            form = json.loads(text) if text else {}
            if not isinstance(form, dict):
                raise UserError("the body must be a JSON object")
        else:
            pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS, encoding="utf-8", errors="strict")
            form = dict(pairs)
    except UserError:
        raise
    except (ValueError, RecursionError):
        raise UserError("the form cannot be read: it must be UTF-8, as a page of ours sends it") from None
    return cast(JSON, storable(form))


def storable(value: Value) -> Value:
    """The value, where all of its text can be kept. UserError for lone surrogates, which are no Unicode, and for NaN."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise UserError("the text holds something that is no Unicode, or a number that is none") from None
    return value


def answered(asked: Ask, result: JSON, path: str, **query: str) -> Response:
    """What was done, for the script as JSON, else as the next page."""
    if asked.wants_json:
        return Response(json.dumps(result, ensure_ascii=False), media_type="application/json")
    return asked.go(path, **query)
