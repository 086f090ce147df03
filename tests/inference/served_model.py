"""A model's server in a thread of the test's own process, and what asks it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import uvicorn

from residency.inference.model import Loaded
from residency.inference.server.app import make
from residency.inference.server.settings import Settings


class ServedModel:
    """A server that listens as long as the block lasts."""

    def __init__(self, loaded: Loaded, **settings: Any) -> None:
        self.settings = Settings(model="/models/tiny", **settings)
        self.app = make(loaded, self.settings)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self.socket.getsockname()[:2]
        self.url = f"http://{self.host}:{self.port}"
        config = uvicorn.Config(self.app, log_level="warning", lifespan="on", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self.socket]))

    def __enter__(self) -> ServedModel:
        self._thread.start()
        until = time.monotonic() + 30
        while not self._server.started:
            assert time.monotonic() < until
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self.socket.close()

    def ask(
        self, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of an answer. `body` is posted; None: a GET."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, headers or {})
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, _read(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, _read(error.read()), dict(error.headers)

    def complete(self, prompt: Any, **more: Any) -> Any:
        """The answer to a completion that must not fail."""
        status, said, _ = self.ask("/v1/completions", {"prompt": prompt, **more})
        assert status == 200, said
        return said

    def chat(self, text: str, **more: Any) -> Any:
        """The answer to a chat that must not fail."""
        messages = [{"role": "user", "content": text}]
        status, said, _ = self.ask("/v1/chat/completions", {"messages": messages, **more})
        assert status == 200, said
        return said

    def stream(self, path: str, body: dict[str, Any]) -> list[Any]:
        """The events of a stream; the last is `[DONE]`."""
        status, text, _ = self.ask(path, {**body, "stream": True})
        assert status == 200, text
        found = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
        return [one if one == "[DONE]" else json.loads(one) for one in found]

    def metric(self, name: str) -> float:
        text = self.ask("/metrics")[1]
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def until(self, name: str, value: float) -> None:
        """Wait until a metric has that value."""
        end = time.monotonic() + 30
        while self.metric(name) != value:
            assert time.monotonic() < end, f"{name} is {self.metric(name)}, not {value}"
            time.sleep(0.02)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()
