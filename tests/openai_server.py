"""A small HTTP server that answers as an OpenAI-compatible one, or misbehaves as told: real sockets, nothing of ours faked."""

import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What was asked of the server, and what it is to do. `plan`: one entry for each coming request, then ordinary answers.

    An entry is (status, body) or (status, body, headers); body as text is sent as it is, None waits until the test is over.
    """

    url: str = ""
    asked: list = field(default_factory=list)
    keys: list = field(default_factory=list)
    plan: list = field(default_factory=list)
    models: tuple = ("toy",)
    most: int = 100
    ids: bool = False
    finish: str = "stop"
    says: Callable | None = None
    """What it answers to a text, and how that ended; None for something of its own."""
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    active: int = 0
    busiest: int = 0

    def answer(self, path, body):
        chat = path.endswith("/chat/completions")
        said = body["messages"][-1]["content"] if chat else body["prompt"]
        choices = []
        for index in range(min(body["n"], self.most)):
            text = f"{said} 你好 {body['seed']}:{index}"
            text, finish = (text, self.finish) if self.says is None else self.says(said)
            choice = {"index": index, "finish_reason": finish}
            choice |= {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            if self.ids and body.get("return_token_ids"):
                each = [-0.5, -0.25, -1.0]
                listed = {"content": [{"token": "x", "logprob": p} for p in each]} if chat else {"token_logprobs": each}
                choice |= {"token_ids": [7, 8, 9], "logprobs": listed}
                if not chat:
                    choice["prompt_token_ids"] = [1, 2]
            choices.append(choice)
        return {"choices": choices, **({"prompt_token_ids": [1, 2]} if self.ids and chat else {})}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send(200, {"data": [{"id": name} for name in self.server.served.models]})

    def do_POST(self):
        served = self.server.served
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with served.lock:
            served.asked.append((self.path, body))
            served.keys.append(self.headers.get("authorization"))
            planned = served.plan.pop(0) if served.plan else None
            served.active += 1
            served.busiest = max(served.busiest, served.active)
        try:
            if planned is None:
                self.send(200, served.answer(self.path, body))
            elif planned[1] is None:
                served.over.wait(30)
            else:
                self.send(*planned)
        finally:
            with served.lock:
                served.active -= 1

    def send(self, status, body, headers=()):
        data = (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextmanager
def serving(**how):
    """A server on a free port of this machine, for the time of the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.served = Served(url=f"http://127.0.0.1:{server.server_port}/v1", **how)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server.served
    finally:
        server.served.over.set()
        server.shutdown()
        server.server_close()
