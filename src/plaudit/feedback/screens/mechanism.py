"""How feedback is asked for: proposed changes, the share of random questions, judge models, and the history of all of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from plaudit.feedback import deciding
from plaudit.feedback.asking import Ask, ask
from plaudit.feedback.judge_seats import KINDS, RUBRIC, rubric_of
from plaudit.feedback.questions import ASSIGNMENT
from plaudit.schema import JSON, UserError
from plaudit.store import Change
from plaudit.store.mechanism import ACCEPTED, LEFT_OUT

router = APIRouter()
Viewing = Annotated[Ask, Depends(ask("viewer"))]
Admin = Annotated[Ask, Depends(ask("admin"))]
LATEST = 20
"""Changes that the page shows."""
MOST_QUESTIONS = 10_000


@router.get("/mechanism")
def mechanism(asked: Viewing) -> Response:
    server = asked.server
    with server.readers.lend() as store:
        history, scored = store.changes(), {one for scores in store.scores().values() for one in scores}
        decided = {one.id: one for one in store.proposals()}
        rubric, weights = rubric_of(store), store.setting(deciding.WEIGHTS, {})
        name_of = store.name_of if asked.me.may("admin") else None
        changes = [(one, difference(one, name_of), decided.get(one.proposal or "")) for one in history[:LATEST]]
        quarantined = [one for one in decided.values() if one.decision == ACCEPTED and one.content["rule"] == "ties"]
    return asked.page(
        "mechanism.html",
        proposals=deciding.waiting(server) if asked.me.may("admin") else [],
        changes=changes,
        quarantined=quarantined,
        random_share=server.questions.random_share(),
        arms=arms(asked),
        scored=len(scored),
        judges=server.quality().judges,
        seats=server.seats,
        judge_kinds=KINDS,
        rubric=rubric,
        weights_line=deciding.weights_line(weights) if weights else "",
        weights_places=deciding.weights_places(server.settings.runs.parent) if weights else [],
    )


def arms(asked: Ask) -> dict[str, int]:
    """Why people were asked what they answered: reason -> acts."""
    return dict(Counter(act.assignment.reason for act in asked.server.acts() if act.source == "human").most_common())


def difference(change: Change, name_of: Callable[[int], str] | None) -> tuple[str, str]:
    """Old and new value as texts. Who is left out is for admins: without `name_of` only how many are told."""

    def text(value: Any) -> str:
        if change.setting == LEFT_OUT:
            people = value or []
            return str(len(people)) if name_of is None else ", ".join(f"{source}:{name_of(n)}" for source, n in people)
        if isinstance(value, list):
            return ", ".join(map(str, value))
        if isinstance(value, dict):
            return ", ".join(f"{name} {one}" for name, one in value.items())
        return "" if value is None else str(value)

    return text(change.old), text(change.new)


@router.post("/mechanism/proposals/{proposal}")
def decided(asked: Admin, proposal: str) -> Response:
    """Accepts or refuses what is proposed."""
    decision = asked.text("decision", 10)
    if decision not in ("accept", "refuse"):
        raise UserError("a proposal is accepted or refused")
    text, note = asked.text("text", 10_000), asked.text("note", 2000)
    deciding.decide(asked.server, proposal, decision == "accept", asked.me.name, note, text)
    return asked.go("/mechanism")


@router.post("/mechanism/random")
def change_share(asked: Admin) -> Response:
    """Changes how many of the fresh questions are drawn at random."""
    percent = asked.text("percent", 3)
    if not percent.isdecimal():
        raise UserError("the share of random questions is a whole number of percent, from 0 to 100")
    share_at_random(asked, int(percent) / 100)
    return asked.go("/mechanism")


def share_at_random(asked: Ask, share: float) -> None:
    """UserError for a share that is none."""
    asked.server.questions.checked(random_share=share)
    asked.server.writer.do(
        lambda store: store.change_setting(ASSIGNMENT, {**store.setting(ASSIGNMENT, {}), "random_share": share}, asked.me.name)
    )
    asked.server.questions.changed()


@router.post("/mechanism/rubric")
def change_rubric(asked: Admin) -> Response:
    """Changes what judge models go by: with another rubric a judge has another seat."""
    text = asked.text("rubric", 20_000).strip()
    asked.server.writer.do(lambda store: store.change_setting(RUBRIC, text, asked.me.name))
    return asked.go("/mechanism")


@router.post("/mechanism/judge")
def let_judge(asked: Admin) -> Response:
    """Lets a judge model answer some questions of one kind."""
    number = asked.text("questions", 6)
    if not number.isdecimal() or not 1 <= int(number) <= MOST_QUESTIONS:
        raise UserError(f"a judge is asked 1 to {MOST_QUESTIONS:,} questions at a time")
    asked.server.seats.start(asked.text("judge", 300), int(number), asked.text("kind", 20))
    return asked.go("/mechanism")


def described(one: deciding.Open) -> JSON:
    """A proposal for programs."""
    return {
        "id": one.id,
        "rule": one.proposal.rule,
        "touches": deciding.TOUCHES[one.proposal.rule],
        "subject": one.proposal.subject,
        "prompts": list(one.proposal.prompt_ids),
        "evidence": one.content["evidence"],
    }
