"""A server over a searcher that is written down here: no model, every answer known."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    {
        "id": str(1000 + at),
        "title": f"Title {at}",
        "text": f"Text of {word}.",
        "contents": f'"Title {at}"\nText of {word}.',
    }
    for at, word in enumerate(("aspirin", "iron", "zinc", "copper", "selenium", "iodine", "aspirin and iron"))
]


@dataclass(frozen=True)
class FakeHit:
    score: float
    document: dict[str, Any]


@dataclass
class FakeSearcher:
    """Finds documents by the words that they share with the query; remembers what it was asked."""

    seconds: float = 0.0
    asked: list[tuple[list[str], int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return len(DOCUMENTS)

    def search(self, queries: Sequence[str], topk: int) -> list[list[FakeHit]]:
        self.asked.append((list(queries), topk))
        time.sleep(self.seconds)
        if "explode" in queries:
            raise RuntimeError("this query cannot be searched")
        return [self._one(query, topk) for query in queries]

    def _one(self, query: str, topk: int) -> list[FakeHit]:
        words = set(query.lower().split())
        found = [
            FakeHit(len(words & set(doc["text"].lower().rstrip(".").split())) / 10, doc) for doc in DOCUMENTS
        ]
        ranked = sorted(found, key=lambda hit: (-hit.score, hit.document["id"]))
        return [hit for hit in ranked if hit.score > 0][:topk]

    def document(self, id: str) -> dict[str, Any] | None:
        return next((doc for doc in DOCUMENTS if doc["id"] == id), None)


SERVE = """
import sys, socket
sys.path[:0] = {paths!r}
from served_case import FakeSearcher
from residency.retrieval.server import main
main.serve = lambda settings, listening, url: main.run(FakeSearcher({seconds}), settings, listening)
sys.exit(main.main(["server.yaml"]))
"""


@dataclass
class Served:
    """A server in a process of its own."""

    folder: Path
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    url: str = ""

    def __enter__(self) -> Served:
        self.start()
        until = time.monotonic() + 60
        while not (self.folder / "address.json").is_file():
            assert self.process is not None
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until
            time.sleep(0.02)
        self.url = json.loads((self.folder / "address.json").read_text())["url"]
        assert self.ask(path="/health")[0] == 200
        return self

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {"index": "none", "port": 0, **self.settings}
        (self.folder / "server.yaml").write_text(yaml.safe_dump(config))
        code = SERVE.format(paths=[str(PROJECT), str(Path(__file__).parent)], seconds=self.seconds)
        with (self.folder / "log.txt").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=self.folder,
                env={**os.environ, **self.env},
                stdout=log,
                stderr=log,
            )

    def said(self) -> str:
        return (self.folder / "log.txt").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def ask(
        self, body: Any = None, path: str = "/retrieve", headers: dict[str, str] | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, body and headers of an answer. `body` is posted; None: a GET."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, headers or {})
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, _read(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            return error.code, _read(error.read()), dict(error.headers)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode()
