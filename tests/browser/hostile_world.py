"""A project in which every text that a person or a model can write is hostile, and its server in a thread of this process."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import contextmanager

import uvicorn

from hostile_texts import HOSTILE
from plaudit.feedback.app import create_app
from plaudit.feedback.server import Settings
from plaudit.schema import Assignment, Completion, Feedback, Message, Prompt
from plaudit.store import Lease, Store

NUMBER = len(HOSTILE)
ME = "lin"


def text(place: int) -> str:
    return HOSTILE[place % NUMBER]


def prompt(place: int) -> Prompt:
    """Some are one text, most are a conversation with a turn of each role."""
    if place % 4 == 3:
        return Prompt(text=text(place), meta={"place": place})
    roles = ("system", "user", "assistant", "user")
    return Prompt(messages=tuple(Message(role, text(place + turn)) for turn, role in enumerate(roles)), meta={"place": place})


def answers(asked: Prompt, place: int) -> list[Completion]:
    """Four; the texts and the names of the models are hostile."""
    return [
        Completion(asked.id, text(place + turn), (), (), (), "stop", text(place + turn + 50), turn, place) for turn in range(4)
    ]


def fill(path) -> list[str]:
    """Everything on prompt number i speaks with text i and the next ones; returns the ids of the prompts."""
    asked = [prompt(place) for place in range(NUMBER)]
    given = [answers(one, place) for place, one in enumerate(asked)]
    later = time.time() + 1e6
    with Store(path) as store, store.together():
        store.add_prompts(asked)
        store.add_completions(one for group in given for one in group)
        store.add_account(ME, "admin", "")
        for place, (one, group) in enumerate(zip(asked, given, strict=True)):
            ids = [answer.id for answer in group]
            pair = Assignment(one.id, (ids[0], ids[1]))
            said = {"strength": 2, "comment": text(place + 2), "reasons": [text(place + 3)[:100]]}
            store.add_feedback(
                Feedback(pair, {"choice": choice, **said}, f"{text(place)} {choice}", "human") for choice in ("a", "b")
            )
            store.add_account(f"{text(place)} {place}", "viewer", "", {"region": text(place)})
            store.add_token(f"{place:064d}", ME, text(place))
            store.quarantine(one.id, text(place))
            kinds = {"pairwise": ids[:2], "ranking": ids, "rating": ids[2:3], "correction": ids[3:], "span": ids[:1]}
            for kind, shown in kinds.items():
                store.add_lease(Lease(lease(place, kind), ME, Assignment(one.id, tuple(shown), kind), 0.0, later))
            store.add_lease(Lease(lease(place, "skipped"), ME, pair, 0.0, later, "skipped", text(place)))
            settled(
                store,
                lease(place, "mended"),
                Assignment(one.id, tuple(ids[3:]), "correction"),
                {"text": text(place + 1)},
                place,
            )
            decided = Assignment(one.id, (ids[1], ids[0]), "pairwise", "adjudication" if place % 2 else "random")
            settled(store, lease(place, "decided"), decided, {"choice": "a", "strength": 2}, place)
        mechanism(store)
    return [one.id for one in asked]


def mechanism(store) -> None:
    """How feedback is asked for, changed because of proposals that are about a hostile text each."""
    for place in range(NUMBER):
        about = {"rule": ("drop", "weight_unclear")[place % 2], "subject": text(place), "prompts": [], "evidence": {"to": 0.1}}
        store.propose(f"{place:016x}", about)
        store.change_setting("aspect weights", {text(each): 0.1 for each in range(place + 1)}, ME, f"{place:016x}")
    for setting, value in (("aspects", list(HOSTILE)), ("guideline", "\n\n".join(HOSTILE)), ("rubric", "\n\n".join(HOSTILE))):
        store.change_setting(setting, value, ME)


def settled(store, name, shown, judgement, place):
    """A question that was answered, with a comment."""
    store.add_lease(Lease(name, ME, shown, 0.0, time.time() + 1e6))
    act = Feedback(
        shown, judgement | {"comment": text(place)}, ME, "human", created_at=f"2026-11-20T10:00:00.{place:03d}+00:00"
    )
    store.settle(name, act, f"key-{name}", judgement, at=1.0)


def lease(place: int, kind: str) -> str:
    kinds = ("pairwise", "ranking", "rating", "correction", "span", "skipped", "mended", "decided")
    return f"{kinds.index(kind):08x}{place:08x}"


def run_name(place: int) -> str:
    """What a folder may be called of a text."""
    return f"{place} " + "".join(letter for letter in text(place).replace("/", "∕") if letter not in "\0\n")[:60]


def fill_runs(folder) -> None:
    """A run for each text: its name, its metrics' names and its samples are hostile."""
    for place in range(NUMBER):
        run = folder / run_name(place)
        run.mkdir(parents=True)
        metrics = {"step": 1, "loss": 1.0} | {text(place + turn): 0.5 for turn in range(3)}
        (run / "metrics.jsonl").write_text(json.dumps(metrics) + "\n", "utf-8")
        words = {name: text(place + turn) for turn, name in enumerate(("prompt", "text", "answer"))}
        turns = [{"role": "assistant", "content": text(place + 3)}]
        (run / "samples.jsonl").write_text(json.dumps({"step": text(place), "completion": turns, **words}) + "\n", "utf-8")


@contextmanager
def serving(folder, *models):
    """(address, application); the application can be changed while it serves."""
    app = create_app(Settings(folder / "store.sqlite", text(6), folder / "runs", models, drafts=0.0))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", app
        finally:
            app.state.server.ending.set()
            server.should_exit = True
            thread.join()
