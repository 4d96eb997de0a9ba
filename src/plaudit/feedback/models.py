"""Models to talk to: behind an OpenAI-compatible address, or in a child process with one of our engines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx2

from plaudit.feedback import passwords
from plaudit.feedback.child import KEY as CHILD_KEY
from plaudit.schema import JSON, Message, UserError

KEY = "PLAUDIT_API_KEY"
LONGEST_ANSWER = 2048
"""Tokens of an answer."""


@dataclass(frozen=True)
class ChatModel:
    """A model that can be talked to: `ChatModel.named("http://127.0.0.1:8000/v1#small")`."""

    url: str
    model: str
    version: str
    """What the answers' `policy` is."""
    key: str = field(default="", repr=False)

    @classmethod
    def named(cls, name: str) -> ChatModel:
        """From URL#MODEL. UserError for anything else."""
        url, _, model = name.partition("#")
        try:
            parts = httpx2.URL(url)
        except httpx2.InvalidURL:
            parts = httpx2.URL("")
        if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo or not model:
            raise UserError(f"--model is a run, a model, or URL#MODEL such as http://127.0.0.1:8000/v1#name, not {name!r}")
        return cls(url.rstrip("/"), model, f"{model}@{parts.netloc.decode()}", os.environ.get(KEY, ""))

    def ready(self) -> ChatModel:
        """Itself: its server is somebody else's business."""
        return self

    def close(self) -> None:
        """Nothing to end."""

    async def write(self, messages: Sequence[Message], seed: int, temperature: float) -> AsyncIterator[str]:
        """The pieces of an answer as they come. UserError where the server is not there, refuses, or makes no sense.

        Whoever stops reading closes the connection, which stops the model.
        """
        body: JSON = {
            "model": self.model,
            "messages": [{"role": one.role, "content": one.content} for one in messages],
            "stream": True,
            "seed": seed,
            "temperature": temperature,
            "max_tokens": LONGEST_ANSWER,
        }
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        limits = httpx2.Timeout(10, read=600)
        try:
            async with (
                httpx2.AsyncClient(timeout=limits, trust_env=False) as client,
                client.stream("POST", f"{self.url}/chat/completions", json=body, headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    raise UserError(f"the model's server answered with status {answer.status_code}{await _why(answer)}")
                async for line in _lines(answer):
                    piece = _piece(line)
                    if piece is None:
                        return
                    if piece:
                        yield piece
        except httpx2.HTTPError as error:
            raise UserError(f"the model's server cannot be reached ({type(error).__name__}): is it running?") from None


class ChildModel:
    """A model of ours in a process of its own, started at once and loaded in the background; started again when it died."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._found: ChatModel | None = None
        self._problem = ""
        key = passwords.new()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "plaudit.feedback.child", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, CHILD_KEY: key},
            text=True,
        )
        threading.Thread(target=self._wait, args=(self._process, key), name="plaudit-child", daemon=True).start()

    def _wait(self, process: subprocess.Popen[str], key: str) -> None:
        """Reads the line that says that the model is loaded, or why it is not."""
        assert process.stdout is not None
        try:
            said = json.loads(process.stdout.readline())
        except ValueError:
            return
        if "error" in said:
            self._problem = said["error"]
        else:
            self._found = ChatModel(f"http://127.0.0.1:{said['port']}/v1", self.name, said["version"], key)

    def ready(self) -> ChatModel:
        """The model once it is loaded. UserError before that, and where it cannot be; a dead process is started again."""
        with self._lock:
            if self._problem:
                raise UserError(f"the model cannot be loaded: {self._problem}")
            if self._process.poll() is not None:
                self._start()
                raise UserError("the model's process had ended and is started again: try again in a moment")
            if self._found is None:
                raise UserError("the model is still being loaded: try again in a moment")
            return self._found

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def opened(name: str) -> ChatModel | ChildModel:
    """A model by its name: URL#MODEL is somebody's server, anything else is loaded in a child process."""
    return ChatModel.named(name) if name.startswith(("http:", "https:", "ftp:")) or "#" in name else ChildModel(name)


async def _lines(answer: httpx2.Response) -> AsyncIterator[str]:
    """The lines of the stream. Only a line feed ends one; httpx2 splits at U+2028 too, which may stand in a JSON text."""
    rest = ""
    async for text in answer.aiter_text():
        *whole, rest = (rest + text).split("\n")
        for line in whole:
            yield line
    yield rest


async def _why(answer: httpx2.Response) -> str:
    """The server's own words, where it has some."""
    try:
        said = json.loads(await answer.aread())["error"]
        return f": {str(said['message'] if isinstance(said, dict) else said)[:300]}"
    except (ValueError, KeyError, TypeError):
        return ": look at its log"


def _piece(line: str) -> str | None:
    """The text of one line of the stream, '' where it has none, None at the end."""
    if not line.startswith("data:"):
        return ""
    data = line[5:].strip()
    if data == "[DONE]":
        return None
    try:
        choices = json.loads(data)["choices"]
        return (choices[0]["delta"].get("content") or "") if choices else ""
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise UserError("the model's server sent something that is no chat completion: check its address") from None
