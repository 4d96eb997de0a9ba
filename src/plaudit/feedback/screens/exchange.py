"""Files in and out: import of other tools' shapes, export of data sets with their digest and lineage."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from plaudit.feedback.asking import Ask, ask
from plaudit.feedback.formats import CONVERTED, FORMATS, Export, Material, export
from plaudit.feedback.importing import read_upload
from plaudit.feedback.server import Server
from plaudit.schema import JSON, UserError
from plaudit.store import Store

router = APIRouter()
Admin = Annotated[Ask, Depends(ask("admin"))]
Uploading = Annotated[Ask, Depends(ask("admin", raw=True))]


@router.get("/exchange")
def exchange(asked: Admin) -> Response:
    return asked.page("exchange.html", formats=FORMATS)


@router.post("/exchange/export")
def save(asked: Admin) -> Response:
    """A file to keep, with a snapshot of the data set in the store."""
    name = asked.text("format", 40)
    made, digest = exported(asked.server, name)
    if not made.rows:
        raise UserError(f"there is nothing yet that could be exported as {name}: collect some feedback first")
    return attachment(name, made, digest)


def exported(server: Server, name: str) -> tuple[Export, str]:
    """The rows of a format and the digest of their snapshot ('' for single acts, which are no data set)."""
    if name not in FORMATS:
        raise UserError(f"there is no format {name!r}: use one of {', '.join(FORMATS)}")
    with server.readers.lend() as store:
        held = material(store)
        made = export(name, held.by_others(store.left_out()) if name in CONVERTED else held)
    if not made.kind or not made.items:
        return made, ""
    return made, server.writer.do(lambda store: store.snapshot(made.kind, list(made.items), made.feedback_ids))


def material(store: Store) -> Material:
    """Everything in the store that is not in quarantine."""
    everything = Material(store.prompts(), store.completions(), store.feedback(current=False))
    return everything.without(store.quarantined())


def attachment(name: str, made: Export, digest: str) -> Response:
    """Rows as a JSONL file; Label Studio's as one JSON list, which is what it reads."""
    if name == "label-studio":
        body, ending = json.dumps(made.rows, ensure_ascii=False, indent=1), "json"
    else:
        body, ending = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made.rows), "jsonl"
    file = f"plaudit-{name}{'-' + digest if digest else ''}.{ending}"
    headers = {"content-disposition": f'attachment; filename="{file}"', "x-dataset-digest": digest}
    return Response(body, media_type="application/octet-stream", headers=headers)


@router.post("/exchange/import")
async def take_in(asked: Uploading) -> Response:
    """A file: its bytes as the body (the script sends it so), its name in the query."""
    body = await asked.request.body()
    result = await run_in_threadpool(imported, asked.server, asked.request.query_params.get("name", ""), body)
    return Response(json.dumps(result), media_type="application/json")


def imported(server: Server, name: str, body: bytes) -> JSON:
    """Takes a file into the store, all of it or nothing; what is there already stays as it is."""
    found = read_upload(name, body)
    held = found.material

    def add(store: Store) -> dict[str, int]:
        with store.together():
            return {
                "prompts": store.add_prompts(held.prompts),
                "completions": store.add_completions(held.completions),
                "feedback": store.add_feedback(held.feedback),
            }

    new = server.writer.do(add)
    server.questions.changed()
    return {"new": new, "lines": [*found.lines(), f"new here: {', '.join(f'{n:,} {what}' for what, n in new.items())}"]}
