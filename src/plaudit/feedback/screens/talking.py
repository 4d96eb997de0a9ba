"""Talk to a model: answers as they are written, thumbs, corrections, now and then two drafts to choose from.

Without the person's consent nothing is kept: the page alone knows the conversation. With it, questions and answers go into the
store, and every thumb, choice and correction is an act of feedback on them.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from plaudit.feedback.asking import Ask, ask
from plaudit.feedback.models import ChatModel
from plaudit.feedback.rendering import markdown
from plaudit.feedback.screens.judging import REASONS
from plaudit.registry import find
from plaudit.schema import JSON, Assignment, Completion, Feedback, Message, Prompt, Sampling, UserError
from plaudit.store import Missing, Store, Turn
from plaudit.store.migrations import now

router = APIRouter()
Annotating = Annotated[Ask, Depends(ask("annotator"))]
MOST_TURNS = 200
TEMPERATURE = 0.8
CHAT = "chat"
_draw = random.SystemRandom()


@router.get("/chat")
def chat(asked: Annotating) -> Response:
    """A new conversation."""
    return asked.page("chat.html", models=asked.server.settings.models, turns=[], conversation="", reasons=REASONS, earlier=[])


@router.get("/chat/{conversation}")
def earlier(asked: Annotating, conversation: str) -> Response:
    """A conversation that was kept."""
    with asked.server.readers.lend() as store:
        turns = [_shown(store, turn) for turn in store.turns(conversation, asked.me.name)]
        others = store.conversations(asked.me.name)[:20]
    return asked.page(
        "chat.html",
        models=asked.server.settings.models,
        turns=[turn for turn in turns if turn],
        conversation=conversation,
        reasons=REASONS,
        earlier=others,
    )


def _shown(store: Store, turn: Turn) -> JSON | None:
    """A turn's question and the answer that counts; None where they were erased."""
    prompts = store.prompts(ids=[turn.prompt_id])
    answers = store.completions(ids=[turn.chosen or turn.completion_ids[-1]])
    if not prompts or not answers:
        return None
    return {"asked": prompts[0].messages[-1].content, "answer": answers[0], "place": turn.place}


@router.post("/chat/answer")
def answer(asked: Annotating) -> Response:
    """The answer to a conversation as server-sent events, one draft or two."""
    models = asked.server.models
    number = asked.form.get("model", 0)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(models):
        raise UserError("there is no such model to talk to: start the server with --model URL#MODEL")
    messages = conversation_of(asked.form.get("messages"))
    consent = asked.form.get("consent") is True
    drafts = 2 if consent and _draw.random() < asked.server.settings.drafts else 1
    talk = Talk(asked, asked.server.models[number].ready(), messages, consent, drafts)
    talk.conversation = asked.text("conversation", 40) if consent else ""
    return StreamingResponse(talk.events(), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


def conversation_of(value: Any) -> tuple[Message, ...]:
    """The messages that a page sent. UserError for what no page of ours sends."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_TURNS:
        raise UserError(f"messages must be a list of 1 to {MOST_TURNS} turns")
    turns = []
    for turn in value:
        right = isinstance(turn, dict) and turn.get("role") in ("system", "user", "assistant")
        if not right or not isinstance(turn.get("content"), str) or not turn["content"].strip():
            raise UserError("each message has a role (system, user or assistant) and some text as content")
        turns.append(Message(turn["role"], turn["content"]))
    if turns[-1].role != "user":
        raise UserError("the last message must be the user's")
    return tuple(turns)


class Talk:
    """One answer, or two drafts written at the same time, on its way to a page."""

    def __init__(self, asked: Ask, model: ChatModel, messages: tuple[Message, ...], consent: bool, drafts: int) -> None:
        self.server, self.person, self.said = asked.server, asked.me.name, asked.said
        self.model, self.messages = model, messages
        self.consent, self.drafts, self.conversation = consent, drafts, ""

    async def events(self) -> AsyncIterator[str]:
        """`piece` for each piece of text, `done` with the finished answers as HTML, or `problem`."""
        pieces: asyncio.Queue[tuple[int, str | None]] = asyncio.Queue()
        texts = [""] * self.drafts
        seeds = [_draw.randrange(2**31) for _ in texts]

        async def write(draft: int) -> None:
            async for piece in self.model.write(self.messages, seeds[draft], TEMPERATURE):
                await pieces.put((draft, piece))
            await pieces.put((draft, None))

        tasks = [asyncio.create_task(write(draft)) for draft in range(self.drafts)]
        writing = set(range(self.drafts))
        try:
            while writing:
                coming = asyncio.create_task(pieces.get())
                await asyncio.wait([coming, *tasks], return_when=asyncio.FIRST_COMPLETED)
                failed = next((task for task in tasks if task.done() and task.exception()), None)
                if failed is not None:
                    coming.cancel()
                    raise failed.exception()  # type: ignore[misc]
                draft, piece = await coming
                if piece is None:
                    writing.discard(draft)
                else:
                    texts[draft] += piece
                    yield _event("piece", {"draft": draft, "text": piece})
            yield _event("done", await run_in_threadpool(self._finished, texts, seeds))
        except UserError as problem:
            yield _event("problem", {"error": self.said(problem)})
        finally:
            for task in tasks:  # the person left or pressed stop: the model stops too
                task.cancel()

    def _finished(self, texts: list[str], seeds: list[int]) -> JSON:
        """What the page shows of finished answers; with consent, what was kept of them."""
        result: JSON = {"answers": [{"text": text, "html": markdown(text)} for text in texts]}
        if not self.consent or not all(text.strip() for text in texts):
            return result
        prompt = Prompt(messages=self.messages, meta={"source": CHAT})
        answers = [
            Completion(
                prompt.id, text, (), (), (), "stop", self.model.version, 0, seed, Sampling(seed=seed, temperature=TEMPERATURE)
            )
            for text, seed in zip(texts, seeds, strict=True)
        ]
        try:
            kept = self.server.writer.do(lambda store: self._keep(store, prompt, answers))
        except UserError as refused:  # the very text was erased on request: it is answered, and not kept
            return result | {"not_kept": str(refused)}
        for shown, one in zip(result["answers"], answers, strict=True):
            shown["completion"] = one.id
        return result | kept

    def _keep(self, store: Store, prompt: Prompt, answers: list[Completion]) -> JSON:
        with store.together():
            if not self.conversation:
                self.conversation = secrets.token_hex(8)
                store.add_conversation(self.conversation, self.person)
            place = sum(turn.role == "user" for turn in self.messages)
            before = next((turn for turn in store.turns(self.conversation, self.person) if turn.place == place), None)
            store.add_prompts([prompt])
            store.add_completions(answers)
            known = before.completion_ids if before and before.prompt_id == prompt.id else ()
            ids = (*known, *(one.id for one in answers))
            store.put_turn(self.conversation, Turn(place, prompt.id, ids, answers[0].id if len(answers) == 1 else None))
        return {"conversation": self.conversation, "place": place}


def _event(name: str, data: JSON) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


@router.post("/chat/thumb")
def thumb(asked: Annotating) -> Response:
    """A thumb on an answer of one's own conversation; another one replaces it. Now the model's name may be seen."""
    form: JSON = {"value": asked.form.get("value")}
    for name in ("reasons", "comment"):
        if asked.form.get(name):
            form[name] = asked.form[name]
    return JSONResponse(_act(asked, "thumb", [asked.text("completion", 40)], form))


@router.post("/chat/correct")
def correct(asked: Annotating) -> Response:
    """The answer as it should have been."""
    text = asked.text("text")
    return JSONResponse(_act(asked, "correction", [asked.text("completion", 40)], {"text": text}) | {"html": markdown(text)})


@router.post("/chat/choose")
def choose(asked: Annotating) -> Response:
    """One of two drafts, in the order in which they were shown."""
    shown = asked.form.get("completions")
    if not isinstance(shown, list) or len(shown) != 2 or not all(isinstance(one, str) for one in shown):
        raise UserError("completions must be the two drafts")
    choice = asked.form.get("choice")
    result = _act(asked, "pairwise", shown, {"choice": choice})
    if choice in ("a", "b"):
        chosen = shown["ab".index(choice)]
        conversation, turn = result.pop("turn")
        asked.server.writer.do(lambda store: store.put_turn(conversation, replace(turn, chosen=chosen)))
    return JSONResponse({name: value for name, value in result.items() if name != "turn"})


def _act(asked: Ask, kind: str, ids: list[str], form: JSON) -> JSON:
    """Keeps an act on answers of one's own conversation; it supersedes an earlier one of its kind on them."""
    judgement = find("judgements", kind).read(form)
    me = asked.me.name

    def add(store: Store) -> JSON:
        with store.together():
            conversation, turn = _turn_with(store, me, asked.text("conversation", 40), ids)
            shown = Assignment(turn.prompt_id, tuple(ids), kind, CHAT)
            before = next(
                (act.id for act in store.feedback(prompt_id=turn.prompt_id) if (act.annotator, act.assignment) == (me, shown)),
                None,
            )
            act = Feedback(shown, judgement, me, "human", None, now(), before)
            store.add_feedback([act])
            answers = store.completions(ids=ids)
        return {"feedback": act.id, "models": [one.policy for one in answers], "turn": (conversation, turn)}

    result = asked.server.writer.do(add)
    if kind != "thumb":
        asked.server.questions.changed()  # the drafts may be asked others, and the pair is judged now
    return result if kind == "pairwise" else {name: value for name, value in result.items() if name != "turn"}


def _turn_with(store: Store, person: str, conversation: str, ids: list[str]) -> tuple[str, Turn]:
    for turn in store.turns(conversation, person):
        if set(ids) <= set(turn.completion_ids):
            return conversation, turn
    raise Missing("there is no such answer in this conversation of yours")
