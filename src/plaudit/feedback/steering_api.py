"""What steers: proposals, the share of random questions, judge models, runs. JSON under /api/v1, beside `api`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import Field

from plaudit.feedback import deciding
from plaudit.feedback.api import Strict
from plaudit.feedback.asking import Ask, ask, storable
from plaudit.feedback.branches import checkpoints
from plaudit.feedback.judge_seats import KINDS, RUBRIC, rubric_of
from plaudit.feedback.screens import mechanism, watching
from plaudit.schema import JSON, to_json
from plaudit.training.control import WANTED, state_of, steer

router = APIRouter(prefix="/api/v1", tags=["steering"])
Viewing = Annotated[Ask, Depends(ask("viewer"))]
Admin = Annotated[Ask, Depends(ask("admin"))]
Id = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]


class Decision(Strict):
    accept: bool
    note: Annotated[str, Field(max_length=2000)] = ""
    text: Annotated[str, Field(max_length=10_000)] = ""
    """What an accepted `unclear` adds to the guideline."""


class Share(Strict):
    random_share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Rubric(Strict):
    text: Annotated[str, Field(max_length=20_000)]
    """Empty: a general one."""


class Seat(Strict):
    judge: Annotated[str, Field(max_length=300)]
    questions: Annotated[int, Field(ge=1, le=mechanism.MOST_QUESTIONS)] = 100
    kind: Annotated[str, Field(pattern=f"^({'|'.join(KINDS)})$")] = "pairwise"


class Steer(Strict):
    wanted: Annotated[str, Field(pattern=f"^({'|'.join(WANTED)})$")]


class From(Strict):
    step: Annotated[int, Field(ge=0, le=10**12)]
    options: dict[str, Annotated[str, Field(max_length=60)]] = Field(default_factory=dict)
    """Options that are to be others: numbers, true, false and null, as texts."""


@router.get("/proposals")
def proposals(asked: Admin) -> JSON:
    """What the judgements propose to change, and what was decided before."""
    with asked.server.readers.lend() as store:
        decided = [to_json(one) for one in store.proposals()]
    return {"open": [mechanism.described(one) for one in deciding.waiting(asked.server)], "decided": decided}


@router.post("/proposals/{proposal}")
def decide(asked: Admin, proposal: Id, body: Decision) -> JSON:
    """Accepts or refuses one, once."""
    note, text = storable(body.note), storable(body.text)
    deciding.decide(asked.server, proposal, body.accept, asked.me.name, note, text)
    return {"proposal": proposal, "accepted": body.accept}


@router.get("/changes")
def changes(asked: Viewing) -> JSON:
    """Every change of guideline, questions, weights and shares, with who made it and the proposal behind it."""
    with asked.server.readers.lend() as store:
        name_of = store.name_of if asked.me.may("admin") else None
        found = [(to_json(one), mechanism.difference(one, name_of)) for one in store.changes()]
    return {"changes": [{**one, "old": old, "new": new} for one, (old, new) in found]}


@router.get("/assignment")
def assignment(asked: Viewing) -> JSON:
    """The share of random questions, and why people were asked what they answered."""
    return {"random_share": asked.server.questions.random_share(), "asked": mechanism.arms(asked)}


@router.put("/assignment")
def change_assignment(asked: Admin, body: Share) -> JSON:
    mechanism.share_at_random(asked, body.random_share)
    return {"random_share": body.random_share}


@router.get("/weights")
def weights(asked: Viewing) -> JSON:
    """What was accepted of the weights of aspects: the line for a training config, and where the project names such weights."""
    with asked.server.readers.lend() as store:
        found = store.setting(deciding.WEIGHTS, {})
    places = deciding.weights_places(asked.server.settings.runs.parent)
    return {"weights": found, "line": deciding.weights_line(found), "places": places}


@router.get("/rubric")
def rubric(asked: Viewing) -> JSON:
    """What judge models go by."""
    with asked.server.readers.lend() as store:
        return {"text": rubric_of(store)}


@router.put("/rubric")
def change_rubric(asked: Admin, body: Rubric) -> JSON:
    text = storable(body.text).strip()
    asked.server.writer.do(lambda store: store.change_setting(RUBRIC, text, asked.me.name))
    return {"text": text}


@router.get("/judges")
def judges(asked: Viewing) -> JSON:
    """The judge models of this server, how their last work went, and how far they agree with people."""
    seats, measured = asked.server.seats, asked.server.quality().to_json()["judges"]
    return {"judges": list(seats.names), "work": [one.to_json() for one in seats.work.values()], "measured": measured}


@router.post("/judges")
def judge(asked: Admin, body: Seat) -> JSON:
    """Lets a judge model compare, rate or rank some answers; /judges says how it goes."""
    return asked.server.seats.start(body.judge, body.questions, body.kind).to_json()


@router.get("/runs/{name:path}/state")
def state(asked: Viewing, name: str) -> JSON:
    """Whether a run goes on or waits, and the steps that it can be branched from."""
    path = watching.named(asked, name).path
    found = state_of(path)
    return {"state": None if found is None else to_json(found), "checkpoints": checkpoints(path)}


@router.post("/runs/{name:path}/steer")
def steered(asked: Admin, name: str, body: Steer) -> JSON:
    """Asks a run to pause, to go on or to stop; it answers after the step that is under way."""
    steer(watching.named(asked, name).path, body.wanted, asked.me.name)
    return {"run": name, "wanted": body.wanted}


@router.post("/runs/{name:path}/branch")
def branch(asked: Admin, name: str, body: From) -> JSON:
    """Begins a run that goes on from a checkpoint; returns its name."""
    return {"run": asked.server.branches.begin(watching.named(asked, name).name, body.step, body.options)}


@router.get("/branches")
def branches(asked: Viewing) -> JSON:
    """The branches that this server began."""
    return {"branches": [to_json(one) for one in asked.server.branches.list()]}
