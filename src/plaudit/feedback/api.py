"""Everything that the pages do, for programs: JSON under /api/v1, described by /api/v1/openapi.json."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from plaudit.feedback.asking import Ask, ask, storable
from plaudit.feedback.formats import FORMATS
from plaudit.feedback.questions import KINDS, shown_texts
from plaudit.feedback.screens import exchange, review, watching
from plaudit.feedback.screens.judging import mine
from plaudit.schema import JSON, to_json
from plaudit.store import Lease, Missing
from plaudit.store.accounts import ROLES

router = APIRouter(prefix="/api/v1", tags=["feedback"])
Viewing = Annotated[Ask, Depends(ask("viewer"))]
Annotating = Annotated[Ask, Depends(ask("annotator"))]
Admin = Annotated[Ask, Depends(ask("admin"))]
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$", description="16 hexadecimal digits.")]
Kind = Annotated[str, Path(pattern=f"^({'|'.join(KINDS)})$")]
Seconds = Annotated[float, Field(ge=0, lt=86_400, allow_inf_nan=False)]


class Strict(BaseModel):
    """Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Judgement(Strict):
    """An answer to a question. `judgement` is as its kind reads it, for example `{"choice": "a", "strength": 2}`."""

    lease: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    judgement: dict[str, Any]
    key: Annotated[str, Field(min_length=8, max_length=100, pattern=r"^[\w.-]+$")]
    """Made by the client, new for each judgement: sending it again changes nothing."""
    seconds: Seconds | None = None
    undo: bool = False
    """Replace the answer that was given to this question before."""


class Skip(Strict):
    lease: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    why: Annotated[str, Field(max_length=2000)] = ""


class Quarantine(Strict):
    reason: Annotated[str, Field(min_length=1, max_length=2000)] | None
    """None lets the prompt back in."""


class Invitation(Strict):
    role: Annotated[str, Field(pattern=f"^({'|'.join(ROLES)})$")] = "annotator"


class Change(Strict):
    role: Annotated[str, Field(pattern=f"^({'|'.join(ROLES)})$")] | None = None
    disabled: bool | None = None


class Text(Strict):
    text: Annotated[str, Field(max_length=50_000)]


class Unit(Strict):
    unit: Annotated[str, Field(max_length=500)]


@router.get("/openapi.json", include_in_schema=False)
def description(asked: Viewing) -> JSONResponse:
    return JSONResponse(asked.request.app.openapi())


@router.get("/me")
def me(asked: Viewing) -> JSON:
    """Who asks."""
    return {"name": asked.me.name, "role": asked.me.role}


@router.get("/status")
def status(asked: Viewing) -> JSON:
    """How much of everything there is, and what is open of each kind."""
    with asked.server.readers.lend() as store:
        counts = store.counts()
    return {"counts": counts, "questions": {kind: asked.server.questions.status(kind) for kind in KINDS}}


@router.post("/questions/{kind}")
def question(asked: Annotating, kind: Kind) -> JSON:
    """The next question, leased to you for a quarter of an hour; `question` is null where nothing is left."""
    lease = asked.server.questions.next(asked.me.name, kind)
    return {"question": None if lease is None else _question(asked, lease)}


@router.get("/leases/{lease}")
def lease(asked: Annotating, lease: Id) -> JSON:
    """A question of yours."""
    return {"question": _question(asked, mine(asked, lease))}


def _question(asked: Ask, lease: Lease) -> JSON:
    with asked.server.readers.lend() as store:
        prompt, answers = shown_texts(store, lease.assignment)
    if prompt is None:
        raise Missing("the text of this question was erased on request: take the next one")
    return {
        "lease": lease.id,
        "kind": lease.assignment.kind,
        "prompt": to_json(prompt),
        "answers": answers,
        "expires_at": lease.expires_at,
        "outcome": lease.outcome,
        "feedback": lease.feedback_id,
    }


@router.post("/judgements")
def judge(asked: Annotating, body: Judgement) -> JSON:
    """Takes a judgement in, exactly once for each key; answered when it is on the disk."""
    return asked.server.questions.answer(
        body.lease, asked.me.name, storable(body.judgement), key=body.key, seconds=body.seconds, undo=body.undo
    )


@router.post("/skips")
def skip(asked: Annotating, body: Skip) -> JSON:
    """Leaves a question out; you are not asked it again."""
    asked.server.questions.skip(body.lease, asked.me.name, storable(body.why))
    return {"lease": body.lease}


@router.get("/prompts")
def prompts(
    asked: Viewing, after: Annotated[int, Query(ge=0, le=10**9)] = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> JSON:
    """Prompts in the order in which they came."""
    with asked.server.readers.lend() as store:
        every = store.prompts()
    return {"total": len(every), "prompts": [{"id": one.id, **to_json(one)} for one in every[after : after + limit]]}


@router.get("/prompts/{prompt}")
def prompt(asked: Viewing, prompt: Id) -> JSON:
    """A prompt with its answers."""
    with asked.server.readers.lend() as store:
        found = store.prompts(ids=[prompt])
        answers = store.completions(prompt_id=prompt)
    if not found:
        raise Missing("the text of this prompt was erased on request")
    return {"prompt": to_json(found[0]), "answers": [{"id": one.id, "text": one.text} for one in answers]}


@router.put("/prompts/{prompt}/quarantine")
def quarantine(asked: Admin, prompt: Id, body: Quarantine) -> JSON:
    """Keeps a prompt out of questions and exports, or lets it back in."""
    reason = None if body.reason is None else storable(body.reason)
    asked.server.writer.do(lambda store: store.quarantine(prompt, reason))
    asked.server.questions.changed()
    return {"prompt": prompt, "reason": reason}


@router.delete("/prompts/{prompt}")
def erase(asked: Admin, prompt: Id) -> JSON:
    """Removes the text of a prompt and of its answers for good; tells the data sets and runs that were made of them."""
    erased = asked.server.writer.do(lambda store: store.erase(prompt_id=prompt), alone=True)
    asked.server.questions.changed()
    return to_json(erased)


@router.post("/import")
async def take_in(asked: Annotated[Ask, Depends(ask("admin", raw=True))], name: Annotated[str, Query(max_length=200)]) -> JSON:
    """A file as the body, in any shape that the page imports; `name` says by its ending what it is."""
    return await run_in_threadpool(exchange.imported, asked.server, name, await asked.request.body())


@router.post("/export/{format}")
def export(asked: Admin, format: Annotated[str, Path(pattern=f"^({'|'.join(FORMATS)})$")]) -> Response:
    """A file in a shape of other tools; the header x-dataset-digest names its snapshot in the store."""
    made, digest = exchange.exported(asked.server, format)
    return exchange.attachment(format, made, digest)


@router.get("/quality")
def quality(asked: Admin) -> JSON:
    """How good the labels are: agreement, annotators, side bias."""
    return asked.server.quality().to_json()


@router.get("/disagreements")
def disagreements(asked: Admin) -> JSON:
    """What people disagree on and nobody has decided, the most uncertain first."""
    return {
        "disagreements": [
            {"unit": str(one.unit), "kind": one.kind, "prompt": one.prompt_id, "entropy": one.entropy}
            for one in asked.server.disagreements()
        ]
    }


@router.post("/disagreements")
def take(asked: Admin, body: Unit) -> JSON:
    """A question about one of them; your judgement decides it."""
    return {"question": _question(asked, review.taken(asked, body.unit))}


@router.get("/accounts")
def accounts(asked: Admin) -> JSON:
    with asked.server.readers.lend() as store:
        found = store.accounts()
    return {"accounts": [{"name": one.name, "role": one.role, "disabled": one.disabled} for one in found]}


@router.patch("/accounts/{name}")
def change(asked: Admin, name: Annotated[str, Path(max_length=60)], body: Change) -> JSON:
    """Another role, or closed, or open again."""
    changed = asked.server.writer.do(lambda store: store.change_account(name, role=body.role, disabled=body.disabled))
    return {"name": changed.name, "role": changed.role, "disabled": changed.disabled}


@router.post("/invitations")
def invite(asked: Admin, body: Annotated[Invitation, Body()]) -> JSON:
    """The path of a link that makes one account."""
    return {"path": f"/join/{asked.server.gate.invite(body.role)}"}


@router.get("/guideline")
def guideline(asked: Viewing) -> JSON:
    with asked.server.readers.lend() as store:
        return {"text": store.setting("guideline", "")}


@router.put("/guideline")
def change_guideline(asked: Admin, body: Text) -> JSON:
    text = storable(body.text)
    asked.server.writer.do(lambda store: store.change_setting("guideline", text, asked.me.name))
    return {"text": text}


@router.get("/runs")
def runs(asked: Viewing) -> JSON:
    found = watching.runs(asked.server.settings.runs)
    return {"runs": [{"name": run.name, "finished": run.finished} for run in found]}


@router.get("/runs/{name:path}/metrics")
def metrics(asked: Viewing, name: str) -> JSON:
    """The lines of a run's metrics.jsonl."""
    return {"metrics": watching.lines(watching.named(asked, name).path / "metrics.jsonl")}
