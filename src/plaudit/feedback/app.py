"""The server as one ASGI application: routes, guards, and what a mistake looks like on a page and to a program."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from plaudit import __version__
from plaudit.feedback import api, steering_api
from plaudit.feedback.asking import Ask, Forbidden, LoginNeeded, here, wants_json
from plaudit.feedback.language import preferred, translated
from plaudit.feedback.protection import Protection
from plaudit.feedback.screens import account, data, exchange, home, judging, mechanism, people, review, talking, watching
from plaudit.feedback.server import Server, Settings
from plaudit.feedback.writer import Unavailable
from plaudit.schema import UserError
from plaudit.store import Conflict, Missing, named

PAGES = tuple(
    screen.router for screen in (home, account, judging, review, people, data, mechanism, exchange, talking, watching)
)
PROGRAMS = (api.router, steering_api.router)
log = logging.getLogger(__name__)
STATUS: tuple[tuple[type[UserError], int], ...] = ((Missing, 404), (Conflict, 409), (Unavailable, 503), (Forbidden, 403))


def create_app(settings: Settings) -> FastAPI:
    """The application with its store open; it is closed when the server ends. UserError where the store cannot be opened."""
    server = Server.start(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        server.close()

    app = FastAPI(
        title="Plaudit feedback",
        version=__version__,
        description="Everything that the pages do. Send `Authorization: Bearer TOKEN`; a token is made on the page Account.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.server = server
    for router in PAGES:
        app.include_router(router, include_in_schema=False)
    for router in PROGRAMS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=str(files("plaudit.feedback") / "static")), name="static")
    open_by_oversight = [route.path for route, role in guarded() if role is None]
    if open_by_oversight:
        raise RuntimeError(f"routes without a guard: {', '.join(open_by_oversight)}")
    app.add_middleware(Protection, hosts=settings.hosts)
    for kind in (UserError, HTTPException, RequestValidationError, LoginNeeded, Exception):
        app.add_exception_handler(kind, _problem)
    return app


def guarded() -> list[tuple[APIRoute, str | None]]:
    """Every route with the role that it asks for (`public` for the few that are open), None where it has no guard."""
    return [
        (route, next((role for one in route.dependant.dependencies if (role := getattr(one.call, "role", None))), None))
        for router in (*PAGES, *PROGRAMS)
        for route in router.routes
        if isinstance(route, APIRoute)
    ]


async def _problem(request: Request, error: Exception) -> Response:
    """What went wrong: a sentence on a page, or `{"error": ...}` for a program; never a traceback."""
    if isinstance(error, LoginNeeded):
        if wants_json(request):
            return JSONResponse({"error": "log in, or send Authorization: Bearer TOKEN"}, 401)
        back = urlencode({"next": here(request)}) if request.method == "GET" else ""
        return RedirectResponse(f"/login?{back}" if back else "/login", 303)
    status, text = _said(error, request)
    asked = getattr(request.state, "ask", None)
    if asked is None:
        language = preferred(request.headers.get("accept-language", ""))
        asked = Ask(request, request.app.state.server, None, language)
    said = translated(asked.language, text)
    if wants_json(request):
        return JSONResponse({"error": said}, status, headers={"retry-after": "2"} if status == 503 else None)
    page: Response = asked.page("problem.html", status, status=status, text=said, english=said == text)
    return page


def _said(error: Any, request: Request) -> tuple[int, str]:
    if isinstance(error, UserError):
        status = next((code for kind, code in STATUS if isinstance(error, kind)), 400)
        place = named(request.app.state.server.settings.store)
        return status, str(error).removeprefix(f"store {place}: ")  # where it lies is nobody's business
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        return 422, f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail)
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return 500, "something went wrong here; it was noted in the server's log"
