"""The first page: the loop with what there is of each part, and what to do next; the guideline; whether the server is well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import PlainTextResponse, Response

from plaudit.feedback.asking import PUBLIC, Ask, ask
from plaudit.feedback.questions import KINDS
from plaudit.feedback.screens.watching import runs

router = APIRouter()
ENOUGH_PAIRS = 200
"""Judged pairs from which a reward model begins to say something."""
WORTH_CHECKING = 20
"""Acts of an annotator from which the quality figures say something."""


@dataclass(frozen=True)
class Action:
    """The next best action: a key of the catalogue, its values, and where to do it."""

    key: str
    path: str
    values: dict[str, int]


def next_action(counts: dict[str, int], open_pairs: int, disagreements: int, models: int) -> Action:
    """What brings the loop furthest now: the first gap on the way round."""
    if not counts["prompts"]:
        return Action("next.import", "/exchange", {})
    if not counts["completions"]:
        return Action("next.answers", "/exchange", {"prompts": counts["prompts"]})
    if not counts["acts"]:
        return Action("next.first", "/judge/pairwise" if open_pairs else "/judge/rating", {})
    if counts["acts"] >= WORTH_CHECKING and disagreements >= 10:
        return Action("next.adjudicate", "/disagreements", {"number": disagreements})
    if counts["acts"] < ENOUGH_PAIRS and open_pairs:
        return Action("next.judge", "/judge/pairwise", {"number": min(open_pairs, ENOUGH_PAIRS - counts["acts"])})
    if not counts["runs"]:
        return Action("next.train", "/exchange", {"acts": counts["acts"]})
    if models:
        return Action("next.chat", "/chat", {})
    return Action("next.watch", "/runs", {"runs": counts["runs"]})


@router.get("/")
def home(asked: Annotated[Ask, Depends(ask("viewer"))]) -> Response:
    status = {kind: asked.server.questions.status(kind) for kind in KINDS}
    with asked.server.readers.lend() as store:
        counts = store.counts()
    counts["runs"] = max(counts["runs"], len(runs(asked.server.settings.runs)))
    disagreements = len(asked.server.disagreements())
    models = len(asked.server.settings.models)
    action = next_action(counts, status["pairwise"]["open"], disagreements, models)
    return asked.page("home.html", counts=counts, status=status, action=action, models=models, disagreements=disagreements)


@router.get("/guideline")
def guideline(asked: Annotated[Ask, Depends(ask("viewer"))]) -> Response:
    with asked.server.readers.lend() as store:
        text = store.setting("guideline", "")
    return asked.page("guideline.html", guideline=text)


@router.post("/guideline")
def change_guideline(asked: Annotated[Ask, Depends(ask("admin"))]) -> Response:
    text = asked.text("guideline", 50_000)
    asked.server.writer.do(lambda store: store.change_setting("guideline", text, asked.me.name))
    return asked.go("/guideline")


@router.get("/help")
def keys(asked: Annotated[Ask, Depends(ask("viewer"))]) -> Response:
    return asked.page("help.html")


@router.get("/health")
def health(_: Annotated[Ask, Depends(ask(PUBLIC))]) -> Response:
    """For programs that look whether the server is up."""
    return PlainTextResponse("ok")
