"""The retrieval server against one built as Search-R1's, 32 clients at once, and against exact search.

Both serve the same index and take turns in one run. `RESIDENCY_BENCH_DOCUMENTS` sets how many
abstracts it has.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks import retrieval_index
from benchmarks.timing import PROJECT, Result, Unmeasured, environment

GOAL = 4.0
"""Times the plain server's throughput."""
CLIENTS, ROUNDS, REQUESTS = 32, 3, 480
OURS = "ours"
PLAIN = {"Search-R1's way": "float32", "the same in our number format": "auto"}
"""Plain servers, each with what it computes in."""
CHECKED = 200
"""Queries whose results are compared with exact search."""
SAME = 2e-3
"""Scores that differ by less are equal: a batch rounds otherwise than one query, in bfloat16 most."""


@dataclass
class Measured:
    throughput: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Milliseconds."""
        found = sorted(self.took)
        return 1000 * found[min(len(found) - 1, int(share * len(found)))]


@contextlib.contextmanager
def served(argv: list[str], url: str, folder: Path) -> Iterator[None]:
    """A server in a process of its own."""
    with (folder / "log.txt").open("wb") as log:
        env = environment(PYTHONPATH=str(PROJECT), OMP_NUM_THREADS=str(os.cpu_count() or 1))
        process = subprocess.Popen(argv, cwd=folder, env=env, stdout=log, stderr=log)
    try:
        until = time.monotonic() + 180
        while not _well(url):
            if process.poll() is not None or time.monotonic() > until:
                raise Unmeasured(
                    f"{' '.join(argv[1:4])} did not start: {(folder / 'log.txt').read_text()[-300:]}"
                )
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


def _well(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _ask(url: str, queries: list[str], into: Measured, folder: Path, clients: int = CLIENTS) -> None:
    path = folder / "queries.json"
    path.write_text(json.dumps(queries))
    argv = [sys.executable, "-m", "benchmarks.retrieval_clients", url, str(clients), str(path)]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=600)
    if done.returncode:
        raise Unmeasured(f"the clients of {url} failed: {done.stderr[-300:]}")
    said = json.loads(done.stdout)
    into.throughput.append(len(said["requests"]) / said["seconds"])
    into.took += said["requests"]


def throughput() -> Iterator[Result]:
    """Requests a second, their times, and whether the results are those of exact search."""
    from residency.paths import cache_dir

    count = int(os.environ.get("RESIDENCY_BENCH_DOCUMENTS", "3000"))
    index = cache_dir() / "benchmarks" / f"minilm-{count}"
    titles = retrieval_index.make(index, count)
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        urls = {name: f"http://127.0.0.1:{_free()}" for name in (OURS, *PLAIN)}
        for name, url in urls.items():
            home = folder / url.rpartition(":")[2]
            home.mkdir()
            settings = {"index": str(index), "port": int(home.name), "threads": os.cpu_count()}
            (home / "server.yaml").write_text(yaml.safe_dump(settings))
            argv = [sys.executable, "-m", "residency.retrieval.server.main", "server.yaml"]
            if name != OURS:
                argv = [
                    sys.executable,
                    "-m",
                    "benchmarks.retrieval_plain",
                    str(index),
                    home.name,
                    PLAIN[name],
                ]
            stack.enter_context(served(argv, url, home))
        found = {name: Measured() for name in urls}
        for url in urls.values():
            _ask(url, titles[:64], Measured(), folder)
        for _ in range(ROUNDS):
            for name, url in urls.items():
                _ask(url, titles[:REQUESTS], found[name], folder)
        equal, worst = _compared(urls[OURS], index, titles[:CHECKED])
    yield from _results(found, count)
    yield Result(
        f"retrieval: {CHECKED} queries, same documents as exact search",
        equal,
        "of 1",
        goal=1.0,
        more_is_better=True,
        against="each query encoded alone, all scores",
        note=f"scores within {worst:.1g}",
    )


def _results(found: dict[str, Measured], count: int) -> Iterator[Result]:
    ours = found[OURS].throughput
    for name in PLAIN:
        plain = found[name].throughput
        rounds = ", ".join(f"{a / b:.1f}" for a, b in zip(ours, plain, strict=True))
        yield Result(
            f"retrieval: {CLIENTS} clients, throughput against {name}",
            median(ours) / median(plain),
            "times",
            runs=ROUNDS,
            goal=GOAL if PLAIN[name] == "float32" else None,
            more_is_better=True,
            against="one request at a time, each encoded by itself",
            note=f"{count:,} abstracts, MiniLM; by round {rounds}",
        )
    for name, measured in found.items():
        yield Result(
            f"retrieval: {CLIENTS} clients, {name}",
            median(measured.throughput),
            "requests/s",
            runs=ROUNDS,
            more_is_better=True,
            note=f"p50 {measured.quantile(0.5):.0f} ms, p99 {measured.quantile(0.99):.0f} ms",
        )


def _compared(url: str, index: Path, queries: list[str]) -> tuple[float, float]:
    """The share of queries whose documents are those of exact search, and the largest difference of scores.

    A document in another's place counts as the same where the two have the same score.
    """
    import numpy as np

    from residency.retrieval.documents import Documents
    from residency.retrieval.encoder import TextEncoder
    from residency.retrieval.manifest import read
    from residency.retrieval.shards import Shards

    spec = read(index).encoder
    assert spec is not None
    encoder = TextEncoder(index / "encoder", spec)
    stored = Documents(index)
    vectors = np.concatenate([found for _, found in Shards(index / "vectors", len(stored), 384).all()])
    body = json.dumps({"queries": queries, "topk": 10, "return_scores": True}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/retrieve", body), timeout=120) as answer:
        result: list[list[dict[str, Any]]] = json.load(answer)["result"]
    same, worst = 0, 0.0
    for query, hits in zip(queries, result, strict=True):
        scores = vectors @ encoder.queries([query])[0]
        place = {stored[int(at)]["id"]: float(scores[at]) for at in np.argsort(-scores)[:50]}
        best = sorted(place.values(), reverse=True)[:10]
        exact = [place.get(hit["document"]["id"], -1.0) for hit in hits]
        worst = max(worst, *(abs(hit["score"] - score) for hit, score in zip(hits, exact, strict=True)))
        same += len(hits) == 10 and all(abs(a - b) <= SAME for a, b in zip(exact, best, strict=True))
    return same / len(queries), worst


MEASURES = (throughput,)
