"""Data health: what is in the store, what looks wrong, and a quarantine out of which everything comes back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from plaudit.feedback.asking import Ask, ask
from plaudit.feedback.questions import KINDS
from plaudit.feedback.rendering import difference
from plaudit.feedback.saying import LETTERS, said
from plaudit.feedback.screens.judging import REASONS
from plaudit.schema import Completion, Feedback, Prompt
from plaudit.store import Missing

router = APIRouter()
Viewing = Annotated[Ask, Depends(ask("viewer"))]
Admin = Annotated[Ask, Depends(ask("admin"))]
LONG = 20_000
"""Characters of an answer that few people read to its end."""
EXAMPLES = 8
SHOWN_KINDS = (*KINDS, "thumb", "rubric", "text")
"""Kinds of judgement that the catalogue has a name for."""


@dataclass(frozen=True)
class Finding:
    """Something to look at: a key of the catalogue, how often, and the prompts of the first few."""

    key: str
    number: int
    prompt_ids: tuple[str, ...]


def findings(prompts: Sequence[Prompt], completions: Sequence[Completion]) -> list[Finding]:
    """What is odd about the texts; what is not there is left out."""
    texts = Counter((one.prompt_id, one.text) for one in completions)
    answered = {one.prompt_id for one in completions}
    found = {
        "data.empty": [one.prompt_id for one in completions if not one.text.strip()],
        "data.equal": [prompt_id for (prompt_id, _), number in texts.items() if number > 1],
        "data.long": [one.prompt_id for one in completions if len(one.text) > LONG],
        "data.cut": [one.prompt_id for one in completions if one.truncated],
        "data.unanswered": [one.id for one in prompts if one.id not in answered],
        "data.single": [p for p, n in Counter(p for p, _ in texts).items() if n == 1],
    }
    return [Finding(key, len(ids), tuple(dict.fromkeys(ids))[:EXAMPLES]) for key, ids in found.items() if ids]


@router.get("/data")
def health(asked: Viewing) -> Response:
    with asked.server.readers.lend() as store:
        counts, kept_out = store.counts(), store.quarantined()
        looked = findings(store.prompts(), store.completions())
        erasures = store.erasures()
        skips = Counter(one.note for one in store.leases(outcome="skipped"))
    quality = asked.server.quality()
    return asked.page(
        "data.html",
        counts=counts,
        findings=looked,
        quarantined=kept_out,
        erasures=erasures,
        skips=skips,
        quality=quality,
        lines=quality.lines() if asked.me.may("admin") else asked.server.overall(),
    )


@router.get("/data/{prompt_id}")
def prompt(asked: Viewing, prompt_id: str) -> Response:
    """One prompt with its answers; who said what about them is for admins."""
    with asked.server.readers.lend() as store:
        found = store.prompts(ids=[prompt_id])
        if not found:
            raise Missing("the text of this prompt was erased on request")
        answers = store.completions(prompt_id=prompt_id)
        acts = store.feedback(prompt_id=prompt_id) if asked.me.may("admin") else []
        kept_out = store.quarantined().get(prompt_id)
    texts = {one.id: one.text for one in answers}
    letters = {one.id: LETTERS[place % len(LETTERS)] for place, one in enumerate(answers)}
    shown = [(act, _changed(act, texts), said(act, letters)) for act in acts]
    return asked.page(
        "prompt.html",
        prompt=found[0],
        answers=answers,
        letters=letters,
        acts=shown,
        quarantined=kept_out,
        kinds=SHOWN_KINDS,
        reasons=REASONS,
    )


def _changed(act: Feedback, texts: Mapping[str, str]) -> str:
    """What a correction changed, as HTML; '' for any other act."""
    ids, text = act.assignment.completion_ids, act.judgement.get("text")
    if act.assignment.kind != "correction" or text is None or ids[0] not in texts:
        return ""
    return difference(texts[ids[0]], text)


@router.post("/data/{prompt_id}/quarantine")
def quarantine(asked: Admin, prompt_id: str) -> Response:
    """Keeps a prompt out of questions and exports, or lets it back in."""
    reason = None if asked.text("back", 1) == "1" else asked.text("reason", 2000).strip() or "-"
    asked.server.writer.do(lambda store: store.quarantine(prompt_id, reason))
    asked.server.questions.changed()
    return asked.go(f"/data/{prompt_id}")


@router.post("/data/{prompt_id}/erase")
def erase(asked: Admin, prompt_id: str) -> Response:
    """Removes the text of a prompt and of its answers for good; what was made of it is listed."""
    if asked.text("sure", 10) == "yes":
        asked.server.writer.do(lambda store: store.erase(prompt_id=prompt_id), alone=True)
        asked.server.questions.changed()
        return asked.go("/data")
    return asked.go(f"/data/{prompt_id}")
