"""Where people judge: compare two answers, rank several, rate, correct, mark passages. No page names the model."""

from __future__ import annotations

import json
import re
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.responses import Response

from plaudit.feedback.asking import Ask, answered, ask
from plaudit.feedback.questions import ASPECTS, KINDS, shown_texts
from plaudit.judgements.span import TAGS
from plaudit.schema import JSON, UserError
from plaudit.store import Lease, Missing

router = APIRouter()
Annotating = Annotated[Ask, Depends(ask("annotator"))]
REASONS = ("wrong", "incomplete", "unclear", "too_long", "rude", "unsafe", "off_topic")
SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？]*\s*|[.!?。！？\n]\s*")
VERDICT = re.compile(r"([ab])([0-3])")


@router.get("/judge")
def choose(asked: Annotating) -> Response:
    """Every kind of judgement with what is open."""
    return asked.page("judge_kinds.html", kinds={kind: asked.server.questions.status(kind) for kind in KINDS})


@router.get("/judge/{kind}")
def question(asked: Annotating, kind: str) -> Response:
    """The next question of a kind."""
    if kind not in KINDS:
        raise Missing(f"there is no kind of judgement {kind!r}: choose one of {', '.join(KINDS)}")
    lease = asked.server.questions.next(asked.me.name, kind)
    if lease is None:
        return asked.page("judge_done.html", kind=kind, saved=asked.request.query_params.get("saved", ""))
    return _page(asked, lease)


@router.get("/judge/again/{lease_id}")
def again(asked: Annotating, lease_id: str) -> Response:
    """A question that was answered, to answer it differently: the new judgement supersedes the old one."""
    return _page(asked, mine(asked, lease_id), undo=True)


@router.get("/judge/given/{lease_id}")
def given(asked: Annotating, lease_id: str) -> Response:
    """A question chosen by hand."""
    return _page(asked, mine(asked, lease_id))


@router.post("/judge/{lease_id}")
def judge(asked: Annotating, lease_id: str) -> Response:
    """Takes a judgement in."""
    lease = mine(asked, lease_id)
    kind = lease.assignment.kind
    undo = asked.text("undo") == "1"
    result = asked.server.questions.answer(
        lease_id,
        asked.me.name,
        form_of(kind, asked),
        key=asked.text("key", 100) or secrets.token_hex(8),
        seconds=_seconds(asked),
        undo=undo,
    )
    path = f"/disagreements/{lease_id}" if lease.assignment.reason == "adjudication" else f"/judge/{kind}"
    return answered(asked, {**result, "next": f"{path}?saved={lease_id}"}, path, saved=lease_id)


@router.post("/judge/{lease_id}/skip")
def skip(asked: Annotating, lease_id: str) -> Response:
    """Leaves a question out, with a reason."""
    lease = mine(asked, lease_id)
    asked.server.questions.skip(lease_id, asked.me.name, asked.text("why", 2000))
    path = f"/judge/{lease.assignment.kind}"
    return answered(asked, {"lease": lease_id, "next": path}, path)


def mine(asked: Ask, lease_id: str) -> Lease:
    """A lease of the person who asks; another's is as unknown as one that is not there."""
    with asked.server.readers.lend() as store:
        lease = store.lease(lease_id)
    if lease.annotator != asked.me.name:
        raise Missing(f"there is no question {lease_id} of yours: ask for the next one")
    return lease


def _page(asked: Ask, lease: Lease, undo: bool = False) -> Response:
    shown = lease.assignment
    with asked.server.readers.lend() as store:
        prompt, answers = shown_texts(store, shown)
        earlier = store.feedback(current=False, ids=[lease.feedback_id]) if undo and lease.feedback_id else []
        guideline = store.setting("guideline", "")
        aspects = store.setting("aspects", list(ASPECTS))
        mine_done = len(store.leases(annotator=asked.me.name, kind=shown.kind, outcome="judged"))
    if prompt is None or len(answers) != len(shown.completion_ids):
        asked.server.questions.changed()
        raise Missing("the text of this question was erased on request: take the next one")
    return asked.page(
        f"judge_{shown.kind}.html",
        lease=lease,
        kind=shown.kind,
        prompt=prompt,
        answers=answers,
        earlier=earlier[0].judgement if earlier else {},
        undo=undo,
        key=secrets.token_hex(12),
        saved=asked.request.query_params.get("saved", ""),
        guideline=guideline,
        reasons=REASONS,
        aspects=aspects,
        tags=TAGS,
        sentences=[(m.start(), m.end(), m.group()) for m in SENTENCE.finditer(answers[0])] if shown.kind == "span" else [],
        status=asked.server.questions.status(shown.kind),
        done=mine_done,
    )


def _seconds(asked: Ask) -> float | None:
    """The time that the page measured, None where it could not."""
    try:
        value = float(asked.text("seconds", 40))
    except ValueError:
        return None
    return round(value, 3) if 0 <= value < 86400 else None


def form_of(kind: str, asked: Ask) -> JSON:
    """What a page's fields say, as the kind of judgement reads it."""
    form: JSON = _READ[kind](asked)
    reasons = [name.removeprefix("reason-") for name in asked.form if name.startswith("reason-")]
    if any(reason not in REASONS for reason in reasons):
        raise UserError(f"a reason is one of {', '.join(REASONS)}")
    comment = asked.text("comment", 20_000).strip()
    return form | ({"reasons": reasons} if reasons else {}) | ({"comment": comment} if comment else {})


def _pairwise(asked: Ask) -> JSON:
    verdict = asked.text("verdict", 20)
    side = VERDICT.fullmatch(verdict)
    return {"choice": side[1], "strength": int(side[2])} if side else {"choice": verdict}


def _ranking(asked: Ask) -> JSON:
    """Equal places are a tie; an empty place leaves an answer out."""
    ranks: dict[int, list[int]] = {}
    for name, value in asked.form.items():
        place = name.removeprefix("rank-")
        if place != name and str(value).strip():
            if not (place.isdecimal() and str(value).strip().isdecimal() and len(f"{place}{value}") < 9):
                raise UserError(f"field {name} must be a whole number, or empty for an answer that cannot be ranked")
            ranks.setdefault(int(value), []).append(int(place))
    return {"order": [sorted(ranks[rank]) for rank in sorted(ranks)]}


def _rating(asked: Ask) -> JSON:
    aspects = {
        name.removeprefix("aspect-"): _whole(value)
        for name, value in asked.form.items()
        if name.startswith("aspect-") and value
    }
    stars = asked.text("stars", 20)
    return ({"stars": _whole(stars)} if stars else {}) | ({"aspects": aspects} if aspects else {})


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 9 else value


def _span(asked: Ask) -> JSON:
    """`spans` as JSON from the script, and `tag-START-END` from the list of sentences."""
    try:
        spans = json.loads(asked.text("spans") or "[]")
    except (ValueError, RecursionError):
        raise UserError("spans must be a list as JSON") from None
    if not isinstance(spans, list):
        raise UserError("spans must be a list as JSON")
    for name, tag in asked.form.items():
        at = re.fullmatch(r"tag-(\d{1,7})-(\d{1,7})", name)
        if at and tag:
            spans.append({"start": int(at[1]), "end": int(at[2]), "tag": tag})
    return {"spans": spans}


_READ = {
    "pairwise": _pairwise,
    "ranking": _ranking,
    "rating": _rating,
    "correction": lambda asked: {"text": asked.text("text")},
    "span": _span,
}
