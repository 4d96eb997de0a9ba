"""Talking to a model behind an OpenAI-compatible address, piece by piece as it writes."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import httpx2

from plaudit.schema import JSON, Message, UserError

KEY = "PLAUDIT_API_KEY"
LONGEST_ANSWER = 2048
"""Tokens of an answer."""


@dataclass(frozen=True)
class ChatModel:
    """A model that can be talked to: `ChatModel.named("http://127.0.0.1:8000/v1#small")`."""

    url: str
    model: str
    host: str

    @classmethod
    def named(cls, name: str) -> ChatModel:
        """From URL#MODEL. UserError for anything else."""
        url, _, model = name.partition("#")
        try:
            parts = httpx2.URL(url)
        except httpx2.InvalidURL:
            parts = httpx2.URL("")
        if parts.scheme not in ("http", "https") or not parts.host or parts.userinfo or not model:
            raise UserError(f"--model is URL#MODEL, such as http://127.0.0.1:8000/v1#name, not {name!r}")
        return cls(url.rstrip("/"), model, parts.netloc.decode())

    @property
    def version(self) -> str:
        """What the answers' `policy` is."""
        return f"{self.model}@{self.host}"

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
        key = os.environ.get(KEY)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Timeout(10, read=120)
        try:
            async with (
                httpx2.AsyncClient(timeout=limits, trust_env=False) as client,
                client.stream("POST", f"{self.url}/chat/completions", json=body, headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    raise UserError(f"the model's server answered with status {answer.status_code}: look at its log")
                async for line in answer.aiter_lines():
                    piece = _piece(line)
                    if piece is None:
                        return
                    if piece:
                        yield piece
        except httpx2.HTTPError as error:
            raise UserError(f"the model's server cannot be reached ({type(error).__name__}): is it running?") from None


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
