"""A small client of the feedback server's API.

with FeedbackClient("http://127.0.0.1:8400", token="...") as client:
    question = client.next("pairwise")
    client.judge(question["lease"], {"choice": "a", "strength": 2}, seconds=4.2)
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Any, Self, cast

import httpx2

from plaudit.schema import JSON, UserError

LONGEST_PAUSE = 5.0
"""Seconds between two tries at most."""


class FeedbackClient:
    """Sends again what found no answer: a judgement keeps its key, so that it is taken in once."""

    def __init__(
        self, url: str, token: str | None = None, *, tries: int = 5, pause: float = 0.5, timeout: float = 30.0
    ) -> None:
        """token: as made on the page Account; None where the server needs no login. pause: seconds before the second try."""
        headers = {"accept": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self.http = httpx2.Client(base_url=url.rstrip("/"), headers=headers, timeout=timeout, trust_env=False)
        self.tries, self.pause = tries, pause
        self._csrf = ""
        if token is None:  # whoever comes over loopback is known by the page's token
            page = self._send("GET", "/help").text
            self._csrf = page.partition('<meta name="csrf" content="')[2].partition('"')[0]
            self.http.headers["x-csrf-token"] = self._csrf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def _send(self, method: str, path: str, **content: Any) -> httpx2.Response:
        """The answer. UserError with the server's own sentence where it refuses, or where it cannot be reached."""
        problem = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(min(LONGEST_PAUSE, self.pause * 2 ** (attempt - 1)))
            try:
                answer = self.http.request(method, path, **content)
            except httpx2.TransportError as error:
                problem = f"{type(error).__name__}: is the server running?"
                continue
            if answer.status_code in (502, 503, 504):
                problem = _error(answer)
                continue
            if answer.status_code >= 400:
                raise UserError(f"{self.http.base_url} refused: {_error(answer)}")
            return answer
        raise UserError(f"{self.http.base_url} cannot be reached after {self.tries} tries ({problem})")

    def _json(self, method: str, path: str, **content: Any) -> JSON:
        return cast(JSON, self._send(method, f"/api/v1{path}", **content).json())

    def healthy(self) -> bool:
        """True once the server answers; UserError where it does not, after all tries."""
        return self._send("GET", "/health").text == "ok"

    def status(self) -> JSON:
        """Counts of everything, and what is open."""
        return self._json("GET", "/status")

    def next(self, kind: str = "pairwise") -> JSON | None:
        """The next question, None where nothing is left for you."""
        return cast("JSON | None", self._json("POST", f"/questions/{kind}")["question"])

    def judge(
        self, lease: str, judgement: JSON, *, seconds: float | None = None, undo: bool = False, key: str | None = None
    ) -> str:
        """Answers a question; returns the id of the act once it is on the server's disk."""
        body = {"lease": lease, "judgement": judgement, "key": key or secrets.token_hex(12), "seconds": seconds, "undo": undo}
        return str(self._json("POST", "/judgements", json=body)["feedback"])

    def skip(self, lease: str, why: str = "") -> None:
        """Leaves a question out."""
        self._json("POST", "/skips", json={"lease": lease, "why": why})

    def import_file(self, path: str | Path) -> JSON:
        """Takes a file in: TRL's, Argilla's, Label Studio's, OpenAI's, LLaMA-Factory's shapes, or our own."""
        path = Path(path)
        content = {"params": {"name": path.name}, "content": path.read_bytes()}
        return self._json("POST", "/import", headers={"content-type": "application/octet-stream"}, **content)

    def export_file(self, format: str, path: str | Path) -> str:
        """Writes an export to a file; returns the digest of its snapshot, '' for single acts."""
        answer = self._send("POST", f"/api/v1/export/{format}")
        Path(path).write_bytes(answer.content)
        return str(answer.headers.get("x-dataset-digest", ""))

    def quality(self) -> JSON:
        """How good the labels are."""
        return self._json("GET", "/quality")

    def proposals(self) -> JSON:
        """What the judgements propose to change (`open`), and what was decided before."""
        return self._json("GET", "/proposals")

    def decide(self, proposal: str, accept: bool, *, note: str = "", text: str = "") -> None:
        """Accepts or refuses a proposal; `text` is what a clearer guideline is to say."""
        self._json("POST", f"/proposals/{proposal}", json={"accept": accept, "note": note, "text": text})

    def let_judge(self, judge: str, questions: int = 100, kind: str = "pairwise") -> JSON:
        """Lets a judge model of the server compare (`pairwise`), rate or rank; GET /judges says how it goes."""
        return self._json("POST", "/judges", json={"judge": judge, "questions": questions, "kind": kind})

    def steer(self, run: str, wanted: str) -> None:
        """Asks a run to `pause`, to `go` on or to `stop`."""
        self._json("POST", f"/runs/{run}/steer", json={"wanted": wanted})

    def branch(self, run: str, step: int, **options: float | bool | None) -> str:
        """Begins a run that goes on from a checkpoint; returns its name."""
        texts = {name: "null" if value is None else str(value).lower() for name, value in options.items()}
        return str(self._json("POST", f"/runs/{run}/branch", json={"step": step, "options": texts})["run"])


def _error(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
