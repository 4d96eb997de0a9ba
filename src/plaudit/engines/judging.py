"""Asking a judge model of any OpenAI-compatible server. Every pair in both orders; what fails is counted, never guessed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from plaudit.engines.http_client import Client, Refused
from plaudit.judgements import ai_judge
from plaudit.schema import Assignment, Feedback, Prompt, UserError

LONGEST = 1024
"""Tokens of a judge's words."""
MOST_COMMENT = 2000
GIVES_UP = 5
"""Pairs that fail one after the other, after which a judge is not asked any more."""


@dataclass(frozen=True)
class Pair:
    """A question with its texts, in the order of `shown`."""

    shown: Assignment
    prompt: Prompt
    first: str
    second: str


@dataclass(frozen=True)
class Asked:
    """What came of a pair: an act, or why there is none (`no verdict`, `refused`, `no answer`) and what was said."""

    shown: Assignment
    act: Feedback | None
    failure: str = ""
    said: str = ""


class Judge:
    """One seat: `Judge("http://127.0.0.1:8000/v1#small", rubric)`. The key comes from PLAUDIT_API_KEY."""

    def __init__(self, name: str, rubric: str = ai_judge.RUBRIC, *, retries: int = 3, timeout: float = 120.0) -> None:
        """UserError for anything but URL#MODEL."""
        url, _, self.model = name.partition("#")
        if not self.model:
            raise UserError(f"a judge is URL#MODEL, such as http://127.0.0.1:8000/v1#name, not {name!r}")
        self.client = Client(url, "PLAUDIT_API_KEY", timeout, retries, 0.5)
        self.rubric = rubric
        self.annotator = ai_judge.seat(self.model, self.client.host, rubric)

    def ask(self, pairs: Sequence[Pair], *, concurrency: int = 8, stop: Event | None = None) -> Iterator[Asked]:
        """What came of each pair, as they are done. UserError once several in a row had no answer at all."""
        stop, in_a_row = stop or Event(), 0
        with ThreadPoolExecutor(concurrency, thread_name_prefix="plaudit-judge") as pool:
            jobs = [pool.submit(self._pair, pair, stop) for pair in pairs]
            try:
                for job in as_completed(jobs):
                    if stop.is_set():
                        return
                    found = job.result()
                    in_a_row = in_a_row + 1 if found.failure in ("no answer", "refused") else 0
                    yield found
                    if in_a_row >= GIVES_UP:
                        raise UserError(f"the judge {self.annotator} failed {in_a_row} times in a row: {found.said}")
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _pair(self, pair: Pair, stop: Event) -> Asked:
        began = time.monotonic()
        try:
            one = self._said(pair.prompt, pair.first, pair.second, stop)
            other = self._said(pair.prompt, pair.second, pair.first, stop)
        except Refused as refused:
            return Asked(pair.shown, None, "refused", f"status {refused.status}: {refused.said}")
        except UserError as problem:
            return Asked(pair.shown, None, "no answer", str(problem))
        straight, exchanged = ai_judge.verdict(one), ai_judge.verdict(other)
        if straight is None or exchanged is None:
            return Asked(pair.shown, None, "no verdict", (one if straight is None else other)[-200:])
        said = ai_judge.judgement(straight, exchanged, one.strip().replace("\0", "")[:MOST_COMMENT])
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return Asked(pair.shown, Feedback(pair.shown, said, self.annotator, "judge", round(time.monotonic() - began, 3), at))

    def _said(self, prompt: Prompt, first: str, second: str, stop: Event) -> str:
        asked = ai_judge.messages(self.rubric, prompt, first, second)
        body = {
            "model": self.model,
            "messages": [{"role": one.role, "content": one.content} for one in asked],
            "temperature": 0,
            "max_tokens": LONGEST,
            "n": 1,
            "seed": 0,
        }
        answer = self.client.post("/chat/completions", body, stop)
        try:
            text = answer["choices"][0]["message"]["content"]
            return str(text).encode("utf-8", "replace").decode()
        except (KeyError, IndexError, TypeError):
            raise UserError(f"{self.client.url} sent something that is no chat completion: check the address") from None
