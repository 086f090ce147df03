from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from residency.verifier import served

Answer = Callable[[dict[str, Any]], tuple[int, Any]]


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], tuple[str, list[Any]]]]:
    servers = []

    def start(answer: Answer) -> tuple[str, list[Any]]:
        asked: list[Any] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append((self.path, body, self.headers.get("Authorization")))
                status, said = answer(body)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(said if isinstance(said, bytes) else json.dumps(said).encode())

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def by_length(body: dict[str, Any]) -> tuple[int, Any]:
    rows = [
        {"index": i, "probs": [1 - len(text) / 10, len(text) / 10]} for i, text in enumerate(body["input"])
    ]
    return 200, {"data": rows[::-1]}


def test_batches_in_order(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERIFIER_KEY", "abc")
    url, asked = serve(by_length)
    texts = ["x" * n for n in (3, 1, 2, 5, 4)]
    found = served.probabilities(url, texts, model="m", batch_size=2, max_length=100, key="VERIFIER_KEY")
    assert found == pytest.approx([0.3, 0.1, 0.2, 0.5, 0.4])
    assert [(path, body["input"], key) for path, body, key in asked] == [
        ("/classify", ["xxx", "x"], "Bearer abc"),
        ("/classify", ["xx", "xxxxx"], "Bearer abc"),
        ("/classify", ["xxxx"], "Bearer abc"),
    ]
    assert asked[0][1]["model"] == "m"
    assert asked[0][1]["truncate_prompt_tokens"] == 100


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ((500, b"boom"), "answered 500: boom"),
        ((200, b"<html>"), "did not answer"),
        ((200, {"data": []}), "another form"),
        ((200, {"scores": [1]}), "another form"),
        ((200, {"data": [{"index": 0, "probs": [0.2, 0.3, 0.5]}]}), "3 classes"),
        ((200, {"data": [{"index": 0, "probs": [float("nan"), 0.5]}]}), "no probabilities"),
    ],
)
def test_other_answers_are_no_score(serve: Any, said: tuple[int, Any], words: str) -> None:
    url, _ = serve(lambda body: said)
    with pytest.raises(served.Unreachable, match=words):
        served.probabilities(url, ["x"])


def test_nobody_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(served.Unreachable, match="did not answer"):
        served.probabilities(f"http://127.0.0.1:{port}", ["x"])


def test_too_slow(serve: Any) -> None:
    waiting = threading.Event()

    def slow(body: dict[str, Any]) -> tuple[int, Any]:
        waiting.wait(5)
        return by_length(body)

    url, _ = serve(slow)
    with pytest.raises(served.Unreachable, match="did not answer"):
        served.probabilities(url, ["x"], timeout=0.2)
    waiting.set()
