"""Asking a judge model of any OpenAI-compatible server, both ways round where there are sides. What fails is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event

from plaudit.engines.http_client import Client, Refused
from plaudit.judgements import ai_judge
from plaudit.judgements.ai_forms import FORMS, Question
from plaudit.schema import Assignment, Feedback, Message, UserError

LONGEST = 1024
"""Tokens of a judge's words."""
MOST_COMMENT = 2000
GIVES_UP = 5
"""Questions that fail one after the other, after which a judge is not asked any more."""


@dataclass(frozen=True)
class Asked:
    """What came of a question: an act, or why there is none (`no verdict`, `refused`, `no answer`) and what was said."""

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

    def ask(self, questions: Sequence[Question], *, concurrency: int = 8, stop: Event | None = None) -> Iterator[Asked]:
        """What came of each question, as they are done. UserError once several in a row had no answer at all."""
        stop, in_a_row = stop or Event(), 0
        with ThreadPoolExecutor(concurrency, thread_name_prefix="plaudit-judge") as pool:
            jobs = [pool.submit(self._one, question, stop) for question in questions]
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

    def _one(self, question: Question, stop: Event) -> Asked:
        began, shown = time.monotonic(), question.shown
        form = FORMS[shown.kind]
        try:
            words = [self._said(asked, stop) for asked in form.asked(self.rubric, question)]
        except Refused as refused:
            return Asked(shown, None, "refused", f"status {refused.status}: {refused.said}")
        except UserError as problem:
            return Asked(shown, None, "no answer", str(problem))
        verdicts = [form.read(question, said) for said in words]
        if None in verdicts:
            return Asked(shown, None, "no verdict", words[verdicts.index(None)][-200:])
        said = form.judgement(verdicts, words[0].strip().replace("\0", "")[:MOST_COMMENT])
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return Asked(shown, Feedback(shown, said, self.annotator, "judge", round(time.monotonic() - began, 3), at))

    def _said(self, asked: Sequence[Message], stop: Event) -> str:
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
