"""Where people disagree, and what is decided: the votes stay hidden until the reviewer has judged too."""

from __future__ import annotations

import random
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from plaudit.feedback.asking import Ask, Forbidden, ask
from plaudit.feedback.questions import shown_texts
from plaudit.feedback.saying import LETTERS, said
from plaudit.feedback.screens.judging import REASONS, mine
from plaudit.schema import Assignment
from plaudit.store import Lease, Missing

router = APIRouter()
Admin = Annotated[Ask, Depends(ask("admin"))]
SHOWN = 50
"""Disagreements on one page."""


@router.get("/disagreements")
def disagreements(asked: Admin) -> Response:
    """The most uncertain first."""
    every = asked.server.disagreements()
    with asked.server.readers.lend() as store:
        prompts = {one.id: one for one in store.prompts(ids=list({d.prompt_id for d in every[:SHOWN]}))}
    shown = [(one, prompts[one.prompt_id]) for one in every[:SHOWN] if one.prompt_id in prompts]
    return asked.page("disagreements.html", shown=shown, number=len(every))


@router.post("/disagreements")
def take(asked: Admin) -> Response:
    """One of them to judge: a question with the reason adjudication, sides drawn anew."""
    lease = taken(asked, asked.text("unit", 500))
    return asked.go(f"/judge/given/{lease.id}")


def taken(asked: Ask, unit: str) -> Lease:
    """A lease on the disagreement called `unit`."""
    found = next((one for one in asked.server.disagreements() if str(one.unit) == unit), None)
    if found is None:
        raise Missing("this disagreement was decided already, or is not there: look at the list")
    with asked.server.readers.lend() as store:
        if asked.me.name in {one.policy for one in store.completions(ids=found.completion_ids)}:
            raise Forbidden("you wrote one of these answers: somebody else must decide")
    sides = list(found.completion_ids)
    random.SystemRandom().shuffle(sides)
    return asked.server.questions.ask(asked.me.name, Assignment(found.prompt_id, tuple(sides), found.kind, "adjudication"))


@router.get("/disagreements/{lease_id}")
def revealed(asked: Admin, lease_id: str) -> Response:
    """What everybody said, once the reviewer has said something too."""
    lease = mine(asked, lease_id)
    if lease.feedback_id is None:
        return asked.go(f"/judge/given/{lease_id}")
    shown = lease.assignment
    with asked.server.readers.lend() as store:
        prompt, answers = shown_texts(store, shown)
        acts = [
            act
            for act in store.feedback(prompt_id=shown.prompt_id)
            if act.assignment.kind == shown.kind and sorted(act.assignment.completion_ids) == sorted(shown.completion_ids)
        ]
        policies = [one.policy for one in store.completions(ids=shown.completion_ids)]
    letters = dict(zip(shown.completion_ids, LETTERS, strict=False))
    votes = [(act, said(act, letters)) for act in acts]
    return asked.page(
        "disagreement.html", lease=lease, prompt=prompt, answers=answers, votes=votes, policies=policies, reasons=REASONS
    )
