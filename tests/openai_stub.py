"""An OpenAI-compatible server in a thread that does what a test tells it: answers, refuses, hangs, dies."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Answer:
    """What is sent back."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang: float = 0.0
    """Seconds before anything is sent."""
    cut: bool = False
    """The connection is closed without a word."""


def text(said: str, *, chat: bool = False, **more: Any) -> Answer:
    """An ordinary answer."""
    inner: dict[str, Any] = {"message": {"role": "assistant", "content": said}} if chat else {"text": said}
    choice = {"index": 0, "finish_reason": "stop", **inner}
    usage = {"prompt_tokens": 7, "completion_tokens": len(said.split())}
    return Answer(body={"choices": [choice | more], "usage": usage})


Behave = Callable[[str, dict[str, Any], int], Answer]
"""(path, the request's JSON, how many of this path came before) → what is sent back."""


class Stub:
    """The server; `requests` has what came, as (path, JSON, headers)."""

    def __init__(self, behave: Behave, *, models: Any = None, port: int = 0, key: str | None = None) -> None:
        self.behave, self.key = behave, key
        self.models = {"data": [{"id": "m", "owned_by": "stub"}]} if models is None else models
        self.requests: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.most_at_once = 0
        self._under_way = 0
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def take(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> Answer:
        """One request's answer."""
        with self._lock:
            before = sum(1 for p, _, _ in self.requests if p == path)
            self.requests.append((path, body, headers))
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            if self.key and headers.get("Authorization") != f"Bearer {self.key}":
                return Answer(401, {"error": {"message": "Incorrect API key provided"}})
            if path == "/v1/models":
                return Answer(body=self.models) if self.models else Answer(404)
            return self.behave(path, body, before)
        finally:
            with self._lock:
                self._under_way -= 1

    def asked(self, path: str = "/v1/completions") -> list[dict[str, Any]]:
        """The bodies of the requests of one path."""
        return [body for p, body, _ in self.requests if p == path]

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()


def _handler(stub: Stub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            raw = self.rfile.read(length)
            answer = stub.take(self.path, json.loads(raw) if raw else {}, dict(self.headers))
            if answer.hang:
                time.sleep(answer.hang)
            if answer.cut:
                self.close_connection = True
                return
            data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {**answer.headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _do

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    return Handler


@pytest.fixture
def serve() -> Any:
    """Start stubs; they end with the test."""
    made: list[Stub] = []

    def start(behave: Behave, **more: Any) -> Stub:
        made.append(Stub(behave, **more))
        return made[-1]

    yield start
    for stub in made:
        stub.stop()
