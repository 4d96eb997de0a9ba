"""A process of its own with one of our engines in it, behind the one route of an OpenAI-compatible server that the chat needs.

`python -m plaudit.feedback.child MODEL` prints one line of JSON with its port and the model's version once the model is loaded.
A crash of native code costs this process and one answer, never the store. An answer is sent when it is whole.
"""

from __future__ import annotations

import hmac
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from plaudit.schema import JSON, Message, Prompt, Sampling, UserError

KEY = "PLAUDIT_CHILD_KEY"
MOST_TOKENS = 512
LARGEST = 5_000_000


class Answering(ThreadingHTTPServer):
    """Asks the engine for one answer at a time."""

    daemon_threads = True

    def __init__(self, engine: Any, key: str) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.engine, self.key = engine, key
        self.turn = threading.Lock()

    def answer(self, body: JSON) -> str:
        """UserError where the conversation does not fit the model."""
        prompt = Prompt(messages=tuple(Message(turn["role"], turn["content"]) for turn in body["messages"]))
        most = min(int(body.get("max_tokens", MOST_TOKENS)), MOST_TOKENS)
        sampling = Sampling(max_new_tokens=most, temperature=float(body["temperature"]), seed=int(body["seed"]))
        with self.turn:
            (found,) = self.engine.generate([prompt], 1, sampling)
        text: str = found.text.strip()
        return text


class Handler(BaseHTTPRequestHandler):
    """POST /v1/chat/completions with the key of whoever started this process."""

    server: Answering

    def do_POST(self) -> None:
        given = self.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.server.key}".encode()):
            self.send_error(401)
            return
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > LARGEST:
            self.send_error(413)
            return
        try:
            text = self.server.answer(json.loads(self.rfile.read(int(length))))
        except UserError as refused:
            self._send(400, "application/json", json.dumps({"error": {"message": str(refused)}}))
            return
        piece = json.dumps({"choices": [{"delta": {"content": text}}]}, ensure_ascii=False)
        self._send(200, "text/event-stream", f"data: {piece}\n\ndata: [DONE]\n\n")

    def _send(self, status: int, kind: str, text: str) -> None:
        body = text.encode("utf-8", "replace")
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged: conversations are nobody's business."""


def main(model: str) -> None:
    """Serves until the process that started this one ends (its end of our stdin closes)."""
    from plaudit.engines.opening import open_engine

    server = Answering(open_engine(model), os.environ[KEY])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": server.server_address[1], "version": server.engine.version}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except UserError as mistake:
        print(json.dumps({"error": str(mistake)}), flush=True)
        raise SystemExit(2) from None
