"""Requests to an OpenAI-compatible server: the key, time limits, further tries, and errors in one sentence."""

from __future__ import annotations

import json
import os
import random
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from plaudit.schema import UserError

AGAIN = {408, 409, 429, 500, 502, 503, 504}
LONGEST = 60.0
"""Seconds that are waited before another try at most, whatever the server asks for."""
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Refused(Exception):
    """The server understood the request and does not do it: `status`, and what it `said`."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


class Client:
    """JSON over HTTP with one server. The key goes into the header of a request only; redirects are not followed."""

    def __init__(self, base_url: str, api_key_variable: str, timeout: float, retries: int, backoff: float) -> None:
        """UserError for an address that is none, or one with a password in it."""
        try:
            import httpx2
        except ModuleNotFoundError:
            raise UserError('the http engine needs the package httpx2: pip install "plaudit[http]"') from None
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"base_url {base_url!r} is no address of a server; it looks like http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise UserError(f"base_url holds a user or password; put the key into the environment as {api_key_variable}")
        self.url, self.host, self.variable = base_url.rstrip("/"), parts.netloc, api_key_variable
        self.timeout, self.retries, self.backoff = timeout, retries, backoff
        # A proxy of the environment does not reach this machine itself.
        self.http = httpx2.Client(timeout=timeout, trust_env=parts.hostname not in LOOPBACK)
        self.failures = (httpx2.TransportError,)
        self.slow = httpx2.TimeoutException

    def get(self, path: str) -> Any:
        """The JSON at a path; as `post`."""
        return self._send("GET", path, None, Event())

    def post(self, path: str, body: dict[str, Any], stop: Event) -> Any:
        """The JSON that answers. Refused for 4xx but 401 and 403; UserError where no answer came, or none that is JSON.

        No further try is made once `stop` is set.
        """
        return self._send("POST", path, body, stop)

    def _send(self, method: str, path: str, body: Any, stop: Event) -> Any:
        for attempt in range(self.retries + 1):
            last = attempt == self.retries or stop.is_set()
            try:
                response = self.http.request(method, self.url + path, json=body, headers=self._headers())
            except self.failures as problem:
                if last:
                    raise UserError(self._unreachable(problem)) from None
                stop.wait(self._pause(attempt, None))
                continue
            if response.status_code not in AGAIN or last:
                return self._read(response, path)
            stop.wait(self._pause(attempt, response.headers.get("retry-after")))
        raise AssertionError("the last try returns or raises")

    def _headers(self) -> dict[str, str]:
        key = os.environ.get(self.variable, "").strip()
        return {"Authorization": f"Bearer {key}"} if key else {}

    def _pause(self, attempt: int, asked: str | None) -> float:
        """Seconds before another try: what the server asks for, else half to all of `backoff`, doubled each time."""
        seconds = self.backoff * 2**attempt * random.uniform(0.5, 1.0)
        if asked and asked.strip().isdecimal():
            seconds = float(asked)
        return min(seconds, LONGEST)

    def _unreachable(self, problem: Exception) -> str:
        tries = f"after {self.retries + 1} tries" if self.retries else "and it was tried once"
        if isinstance(problem, self.slow):
            return (
                f"the server {self.url} gave no answer within {self.timeout:g} s, {tries}: raise timeout, or lower concurrency"
            )
        what = f"{type(problem).__name__}: {problem}"
        return f"no server answers at {self.url}, {tries} ({what}): is it running, is the address right?"

    def _read(self, response: Any, path: str) -> Any:
        status = response.status_code
        if status in (401, 403):
            state = "is not set" if not os.environ.get(self.variable) else "holds a key that it does not accept"
            raise UserError(
                f"the server {self.url} asks for a key ({status}), and the environment variable {self.variable} {state}"
            )
        if status in AGAIN:
            raise UserError(f"the server {self.url} answers {status} after {self.retries + 1} tries: {_said(response)}")
        if not 200 <= status < 300:
            raise Refused(status, _said(response))
        try:
            return json.loads(response.content)
        except ValueError:
            raise UserError(f"{self.url}{path} answers with something that is not JSON: {response.text[:200]!r}") from None


def _said(response: Any) -> str:
    """The message in an error's body, or its beginning."""
    try:
        body = json.loads(response.content)
    except ValueError:
        return repr(response.text[:200])
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message", error) if isinstance(error, dict) else error
    return str(message)[:300]
