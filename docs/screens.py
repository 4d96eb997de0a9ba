"""Pictures of every page of `plaudit feedback`: desktop, phone, dark, Chinese. `python docs/screens.py [FOLDER] [--only NAME]`

It makes a small project with questions, answers, judgements and a run, starts the real server and a toy model beside it, and
takes the pictures with Debian's chromium (or the one that CHROMIUM names) through Playwright. axe-core looks at each page
as well: a serious violation, or a page that is wider than its window, is told and makes the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from plaudit.schema import Assignment, Completion, Feedback, Message, Prompt
from plaudit.store import Lease, Store
from plaudit.training.control import Control

CODE = "Use a list comprehension:\n\n```python\nsquares = [n * n for n in range(10)]\n```\n\nIt is *short* and **fast**."
QUESTIONS: dict[str, tuple[str, ...]] = {
    "Where is my order 1182? It should have come on Monday.": (
        "I am sorry for the delay. Order 1182 left our warehouse **yesterday** and will be with you on Friday. "
        "You can follow it [here](https://example.com/track).",
        "It is late.",
        "Orders come when they come. Please wait for a few more days before you write to us again.",
    ),
    "How do I make a list of squares in Python?": (CODE, "Write a loop.", "You cannot do that in Python."),
    "What is the solution of a quadratic equation?": (
        r"For $ax^2 + bx + c = 0$ it is \[ x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}. \]",
        "Complete the square.\n\n1. Divide by a.\n2. Add the square of half of b.\n3. Take roots.",
        "There is none.",
    ),
    "我的订单什么时候到？": ("您好，您的订单已于昨天发出，预计周五送达。", "不知道。", "请耐心等待，我们会尽快处理您的问题。"),
    "كيف أعيد المنتج؟": ("يمكنك إعادة المنتج خلال ثلاثين يومًا من الاستلام.", "لا يمكن.", "اتصل بنا من فضلك."),
    "Compare the two plans.": (
        "| Plan | Price | Calls |\n|---|---|---|\n| Small | 9 € | 100 |\n| Large | 29 € | any |\n\nThe large one pays off.",
        "Take the large one.",
        "Both are good plans. It depends on what you need, and on what you want to spend. Think about it, and tell me.",
    ),
}


ASKED = [Prompt(messages=(Message("user", text),)) for text in QUESTIONS]
DECIDED = "00000000000000d1"
"""The question of a disagreement that was decided."""


def world(folder: Path) -> None:
    """The project: a store with judgements of three people who do not always agree, one of them decided, and a run."""
    folder.mkdir(parents=True, exist_ok=True)
    with Store(folder / "store.sqlite") as store:
        answers = [
            [Completion(prompt.id, text, (), (), (), "stop", f"run-{place}", place, place) for place, text in enumerate(texts)]
            for prompt, texts in zip(ASKED, QUESTIONS.values(), strict=True)
        ]
        store.add_prompts(ASKED)
        store.add_completions(one for group in answers for one in group)
        store.add_feedback(
            Feedback(
                Assignment(group[0].prompt_id, (group[0].id, group[1 + number % 2].id)),
                {"choice": "b" if (number + place) % 5 == 4 else "a", "strength": 2},
                name,
                "human",
                4.0 + number,
                f"2026-11-2{place}T10:0{number}:00+00:00",
            )
            for number, group in enumerate(answers[:5])
            for place, name in enumerate(("Ada", "Ben", "Cleo"))
        )
        store.add_feedback(
            Feedback(
                Assignment(answers[5][0].prompt_id, (answers[5][0].id, answers[5][1].id)), {"choice": "tie"}, name, "human"
            )
            for name in ("Ada", "Ben", "Cleo")
        )
        store.add_feedback(
            Feedback(
                Assignment(group[0].prompt_id, (group[0].id, group[1].id), reason="judge"),
                {"choice": "a" if number else "tie", "orders": ["a", "a" if number else "b"], "comment": "A says when."},
                "small@127.0.0.1:8000",
                "judge",
            )
            for number, group in enumerate(answers[:4])
        )
        store.add_feedback(
            [
                Feedback(
                    Assignment(answers[0][0].prompt_id, (answers[0][0].id,), "rating", "judge"),
                    {"stars": 4, "aspects": {"helpful": 5, "correct": 4, "harmless": 5}},
                    "small@127.0.0.1:8000",
                    "judge",
                )
            ]
        )
        store.change_setting("aspect weights", {"harmless": 0.2}, "Ada")
        store.change_setting("guideline", "Prefer the answer that **helps more**. Politeness counts; length does not.", "Ada")
        shown = Assignment(ASKED[2].id, (answers[2][0].id, answers[2][1].id), "pairwise", "adjudication")
        said = {"choice": "a", "strength": 2, "comment": "It has the formula.", "reasons": ["incomplete"]}
        store.add_lease(Lease(DECIDED, "local", shown, 0.0, 900.0))
        store.settle(
            DECIDED, Feedback(shown, said, "local", "human", 6.0, "2026-11-23T10:00:00+00:00"), "decided", said, at=1.0
        )
    run = folder / "runs" / "ppo-1"
    run.mkdir(parents=True, exist_ok=True)
    with open(run / "metrics.jsonl", "w", encoding="utf-8") as file:
        for step in range(1, 41):
            wave = math.sin(step * 1.7) / 20
            row = {
                "step": step,
                "reward": 1 - math.exp(-step / 12) + wave,
                "objective/kl": step / 40 + wave,
                "loss": 0.4 / step,
            }
            file.write(json.dumps(row | ({"eval_reward": 1 - math.exp(-step / 14)} if step % 10 == 0 else {})) + "\n")
    sample = {"step": 40, "prompt": "Where is my order?", "completion": "It left yesterday.", "reward": 0.91}
    (run / "samples.jsonl").write_text(json.dumps(sample) + "\n", encoding="utf-8")
    (run / "checkpoint-40").mkdir(exist_ok=True)
    Control(run, "ppo").say("running", 40)


class Toy(BaseHTTPRequestHandler):
    """A model that streams the same few words, as an OpenAI-compatible server does."""

    words = ("Your order left **yesterday**", " and will be there", " on Friday.", " $1 + 1 = 2$")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for word in self.words:
            self.wfile.write(f"data: {json.dumps({'choices': [{'delta': {'content': word}}]})}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def toy_model() -> Iterator[str]:
    """URL#MODEL of a running toy."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Toy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1#toy"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """The address of a real server on a project's folder."""
    command = [sys.executable, "-m", "plaudit", "feedback", "--project", str(folder), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        if found is None:
            raise RuntimeError(f"the server did not start: {process.wait(10)}")
        yield found[0]
    finally:
        process.terminate()
        process.wait(20)


def chromium() -> str | None:
    """Where the browser is, None where there is none."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


SCREENS = {
    "home": "/",
    "judge": "/judge",
    "pair": "/judge/pairwise",
    "rank": "/judge/ranking",
    "rate": "/judge/rating",
    "correct": "/judge/correction",
    "span": "/judge/span",
    "chat": "/chat",
    "again": f"/judge/again/{DECIDED}",
    "disagreements": "/disagreements",
    "decided": f"/disagreements/{DECIDED}",
    "people": "/people",
    "data": "/data",
    "mechanism": "/mechanism",
    "prompt": f"/data/{ASKED[2].id}",
    "exchange": "/exchange",
    "runs": "/runs",
    "run": "/runs/ppo-1",
    "account": "/account",
    "guideline": "/guideline",
    "help": "/help",
    "problem": "/judge/nothing",
}
EMPTY = {"empty": "/", "nothing-left": "/judge/pairwise"}
"""Screens of a project in which there is nothing yet."""
DOORS = {"login": "/login", "join": "/join/an-invitation"}
"""Screens of a server that lets nobody in without an account."""
WIDTH = 360
STILL: dict[str, Any] = {"reduced_motion": "reduce"}  # what fades in has no contrast yet
LOOKS: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 900}, **STILL},
    "phone": {"viewport": {"width": WIDTH, "height": 740}, "has_touch": True, **STILL},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark", **STILL},
    "chinese": {"viewport": {"width": WIDTH, "height": 740}, "locale": "zh-CN", **STILL},
}


@contextmanager
def sites(folder: Path) -> Iterator[dict[str, str]]:
    """The address of every screen, while three servers run."""
    world(folder / "support")
    for name in ("empty", "door"):
        (folder / name).mkdir()
    with (
        toy_model() as model,
        serving(folder / "support", "--model", model) as full,
        serving(folder / "empty") as empty,
        serving(folder / "door", "--name", "judge.example") as door,
    ):
        paths = ((full, SCREENS), (empty, EMPTY), (door, DOORS))
        yield {name: url + path for url, some in paths for name, path in some.items()}


def prepare(page: Any, name: str) -> None:
    """Brings a page into the state that is worth a picture."""
    if name == "correct":
        page.fill("#edit", page.input_value("#edit") + " Thank you for your patience.")
    if name == "chat":
        page.check('[name="consent"]')
        page.fill('[name="message"]', "Where is my order?")
        page.click("#chat-form button.main")
        page.wait_for_selector(".bubble.assistant .row, #chat > .row")


def faults(page: Any) -> list[str]:
    """What axe-core finds serious on the page as it is, and whether it is wider than its window."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    found = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in violations if one["impact"] in ("serious", "critical")]
    width, window = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    return [*found, f"{width} px wide in a window of {window}"] if width > window else found


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", nargs="?", type=Path, default=Path("screens"))
    words.add_argument("--only", help="one screen")
    given = words.parse_args()
    browser_path = chromium()
    if browser_path is None:
        raise SystemExit("there is no chromium: apt-get install chromium, or name one with CHROMIUM=/path")
    from playwright.sync_api import sync_playwright

    given.folder.mkdir(parents=True, exist_ok=True)
    wrong, taken = [], 0
    with tempfile.TemporaryDirectory() as folder, sites(Path(folder)) as screens, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for look, options in LOOKS.items():
            context = browser.new_context(**options, bypass_csp=True)  # axe is a script of its own
            page = context.new_page()
            for name, address in screens.items():
                if given.only in (None, name):
                    page.goto(address)
                    prepare(page, name)
                    page.screenshot(path=given.folder / f"{name}-{look}.png", full_page=True)
                    wrong += [f"{name}, {look}: {one}" for one in faults(page)]
                    taken += 1
            context.close()
        browser.close()
    print(f"{taken} pictures in {given.folder}; serious faults and pages too wide: {len(wrong)}")
    for one in wrong:
        print(f"  {one}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
