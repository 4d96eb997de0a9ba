"""`plaudit feedback`: the pages on which people judge, chat and review."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from plaudit.schema import UserError

if TYPE_CHECKING:
    from plaudit.feedback.server import Settings
    from plaudit.store import Where

STORE = "store.sqlite"


def feedback(
    project: Annotated[Path, typer.Option(help="The project's folder, or a store's file.")] = Path("."),
    host: Annotated[str, typer.Option(help="The address to listen on; only this machine by default.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port; 0 takes a free one.", min=0, max=65535)] = 8400,
    model: Annotated[
        list[str] | None, typer.Option(help="A model to talk to: a run, a model, or URL#MODEL of a server; may be repeated.")
    ] = None,
    drafts: Annotated[
        float, typer.Option(help="Share of the chat's turns with two drafts to choose from.", min=0, max=1)
    ] = 0.2,
    name: Annotated[list[str] | None, typer.Option(help="A further host name that people use; may be repeated.")] = None,
    judge: Annotated[
        list[str] | None, typer.Option(help="A judge model that admins may let judge, URL#MODEL; may be repeated.")
    ] = None,
) -> None:
    """Serve the pages on which people judge, correct, chat and review; Ctrl-C ends it."""
    serve(settings(project, host, model or [], drafts, name or [], judge or []), host, port)


def settings(
    project: Path, host: str, models: list[str], drafts: float, names: list[str], judges: Sequence[str] = ()
) -> Settings:
    """The server's settings. UserError for a folder that is not there, or a model that is none."""
    _needs_packages()
    from plaudit.feedback.models import ChatModel
    from plaudit.feedback.protection import LOOPBACK
    from plaudit.feedback.server import Settings

    for one in models:
        if "#" in one or "://" in one:
            ChatModel.named(one)
    store, title, folder = store_of(project)
    local = _is_loopback(host) and not names  # who names a host has others come in, through a proxy perhaps
    hosts = frozenset({*LOOPBACK, *names, host}) if local or names else None
    return Settings(store, title, folder / "runs", tuple(models), drafts, local, hosts, tuple(judges))


def store_of(project: Path) -> tuple[Where, str, Path]:
    """The store of a project's folder, or the store's file itself; the project's name and folder. UserError for neither."""
    from plaudit.store import located

    if project.suffix in (".sqlite", ".db") and not project.is_dir():
        return project, project.stem, project.parent
    if project.is_dir():
        return located(_store_of(project), project), project.resolve().name, project
    raise UserError(f"there is no folder {project}; name a project's folder, or the file of a store (.sqlite)")


def _needs_packages() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as missing:
        raise UserError(f'the pages need the package {missing.name}: pip install "plaudit[feedback]"') from None


def _store_of(project: Path) -> str:
    """What plaudit.yaml calls the store; store.sqlite where there is no plaudit.yaml."""
    file = project / "plaudit.yaml"
    if not file.is_file():
        return STORE
    import yaml

    try:
        content = yaml.safe_load(file.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        raise UserError(f"{file} is not valid YAML; `plaudit run --dry-run` says where") from None
    return str(content.get("store") or STORE) if isinstance(content, dict) else STORE


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(settings: Settings, host: str, port: int) -> None:
    """Serves until a signal comes; what was acknowledged is on the disk."""
    import uvicorn

    from plaudit.feedback.app import create_app
    from plaudit.store import named

    listening = _listen(host, port)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    app = create_app(settings)
    server = app.state.server
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    typer.echo(f"{settings.project}: {address}  (store {named(settings.store)}; Ctrl-C ends it)")
    with server.readers.lend() as store:
        empty = not store.has_accounts()
    if empty and not settings.local:
        typer.echo(f"There are no accounts yet. Make the first one here: {address}/join/{server.gate.invite('admin')}")

    class Ending(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            server.ending.set()  # streams end by themselves, so that nobody waits for them
            super().handle_exit(sig, frame)

    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, timeout_graceful_shutdown=5)
    Ending(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    """A socket on the address. UserError where it is taken or not this machine's."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(2048)  # who comes before the server is ready waits a moment
    except OSError as problem:
        raise UserError(f"cannot listen on {host} port {port}: {problem.strerror or problem}; choose another --port") from None
    listening.set_inheritable(True)
    return listening
