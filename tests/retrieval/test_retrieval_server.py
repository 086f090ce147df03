"""The retrieval server over HTTP: its form, its bounds, and what does not bring it down."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from served_case import DOCUMENTS, Served

ASPIRIN, BOTH = DOCUMENTS[0], DOCUMENTS[6]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("server")) as found:
        yield found


def test_the_form_with_scores(served: Served) -> None:
    status, said, _ = served.ask({"queries": ["aspirin", "zinc"], "topk": 2, "return_scores": True})
    assert status == 200
    assert said == {
        "result": [
            [{"document": ASPIRIN, "score": 0.1}, {"document": BOTH, "score": 0.1}],
            [{"document": DOCUMENTS[2], "score": 0.1}],
        ]
    }


@pytest.mark.parametrize("given", [{}, {"return_scores": False}, {"return_scores": None}])
def test_the_form_without_scores(served: Served, given: dict[str, Any]) -> None:
    status, said, _ = served.ask({"queries": ["aspirin"], "topk": 1, **given})
    assert (status, said) == (200, {"result": [[ASPIRIN]]})


def test_topk_has_a_default(served: Served) -> None:
    _, said, _ = served.ask({"queries": ["text of"]})
    assert len(said["result"][0]) == 3
    assert served.ask({"queries": ["text of"], "topk": None})[1] == said


def test_no_queries_and_empty_queries(served: Served) -> None:
    assert served.ask({"queries": []})[:2] == (200, {"result": []})
    status, said, _ = served.ask({"queries": ["", "  ", "zinc"], "topk": 1})
    assert (status, said) == (200, {"result": [[], [], [DOCUMENTS[2]]]})


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b'{"queries": ["\xff\xfe"]}', 400, "not UTF-8: byte 14"),
        (b"[]", 400, "not an object"),
        (b"", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        ({"query": "x"}, 400, "`queries` is missing"),
        ({"queries": "aspirin"}, 400, "list of texts"),
        ({"queries": [1]}, 400, "list of texts"),
        ({"queries": ["x"], "topk": 0}, 422, "1 to 100"),
        ({"queries": ["x"], "topk": -1}, 422, "1 to 100"),
        ({"queries": ["x"], "topk": 1_000_000}, 422, "1,000,000"),
        ({"queries": ["x"], "topk": True}, 400, "whole number"),
        ({"queries": ["x"], "topk": 2.5}, 400, "whole number"),
        ({"queries": ["x"], "topk": "3"}, 400, "whole number"),
        ({"queries": ["x"], "return_scores": "yes"}, 400, "true or false"),
        ({"queries": ["x" * 100_000]}, 422, "queries[0] has 100,000 characters"),
        ({"queries": ["x"] * 513}, 422, "513 queries"),
        (b'{"queries": ["' + b"x" * 9_000_000 + b'"]}', 413, "too large"),
    ],
)
def test_what_is_refused(served: Served, body: Any, status: int, words: str) -> None:
    got, said, _ = served.ask(body)
    assert got == status, said
    assert words in said["error"]
    assert served.ask(path="/health")[1] == {"status": "ok", "documents": len(DOCUMENTS)}


def test_half_characters_and_nul(served: Served) -> None:
    # As JSON writes them; a text that no tokenizer takes must not reach one.
    status, said, _ = served.ask(b'{"queries": ["zinc \\ud800"]}')
    assert status in (200, 400)
    assert "result" in said or "error" in said
    assert served.ask({"queries": ["zinc \x00"], "topk": 1})[0] == 200


def test_a_query_that_fails_fails_alone(served: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(served.ask, {"queries": [q], "topk": 1}) for q in ["explode", *["zinc"] * 7]]
        status, said, _ = asked[0].result()
        assert (status, said["error"]) == (
            500,
            "the search failed: RuntimeError: this query cannot be searched",
        )
        assert [one.result()[0] for one in asked[1:]] == [200] * 7


def test_documents_by_id(served: Served) -> None:
    assert served.ask(path="/document/1000")[:2] == (200, ASPIRIN)
    status, said, _ = served.ask(path="/document/none/such")
    assert (status, said) == (404, {"error": "there is no document none/such"})


def test_other_paths_and_methods(served: Served) -> None:
    assert served.ask(path="/retrieve")[0] == 405
    status, said, _ = served.ask(path="/retreive", body={})
    assert status == 404
    assert "POST /retrieve" in said["error"]
    assert served.ask(path="/docs")[0] == 404


def test_clients_that_go_away(served: Served) -> None:
    where = urlsplit(served.url)
    body = json.dumps({"queries": ["zinc"]}).encode()
    head = f"POST /retrieve HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for sent in (b"", b"POST /ret", head, head + body[:5], head + body, b"\x00\xff" * 500):
        with socket.create_connection((where.hostname, where.port)) as client:
            client.sendall(sent)
    assert served.ask({"queries": ["zinc"], "topk": 1})[0] == 200


def test_metrics(served: Served) -> None:
    before = _metric(served, 'residency_retriever_requests_total{path="/retrieve",status="200"}')
    served.ask({"queries": ["zinc", "iron"]})
    assert _metric(served, 'residency_retriever_requests_total{path="/retrieve",status="200"}') == before + 1
    assert _metric(served, "residency_retriever_documents") == len(DOCUMENTS)
    assert _metric(served, "residency_retriever_waiting_queries") == 0


def _metric(served: Served, name: str) -> float:
    text = served.ask(path="/metrics")[1]
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(name)), 0.0)


def test_clients_are_searched_together_and_get_their_own(tmp_path: Path) -> None:
    words = ["aspirin", "iron", "zinc", "copper", "selenium", "iodine"]
    with Served(tmp_path, seconds=0.1) as served, ThreadPoolExecutor(24) as pool:
        asked = [words[at % 6] for at in range(24)]
        began = time.monotonic()
        said = list(pool.map(lambda q: served.ask({"queries": [q], "topk": 1})[1], asked))
        took = time.monotonic() - began
        batches = _metric(served, "residency_retriever_batch_queries_count")
    for query, found in zip(asked, said, strict=True):
        assert query in found["result"][0][0]["text"]
    assert batches <= 8, "24 requests were searched in a few batches"
    assert took < 24 * 0.1


def test_a_full_queue_says_when_to_come_again(tmp_path: Path) -> None:
    with (
        Served(tmp_path, seconds=0.5, settings={"queue": 4, "batch": 2}) as served,
        ThreadPoolExecutor(24) as pool,
    ):
        said = list(pool.map(lambda at: served.ask({"queries": [f"zinc {at}"]}), range(24)))
        told = [headers for status, _, headers in said if status == 503]
        assert told
        assert all(headers.get("Retry-After", headers.get("retry-after")) == "1" for headers in told)
        assert {status for status, *_ in said} == {200, 503}
        assert served.ask({"queries": ["zinc"]})[0] == 200


def test_a_request_that_waits_too_long(tmp_path: Path) -> None:
    with Served(tmp_path, seconds=1.0, settings={"timeout": 0.2}) as served:
        status, said, _ = served.ask({"queries": ["zinc"]})
        assert (status, said) == (503, {"error": "no answer within 0.2 s"})


def test_a_token(tmp_path: Path) -> None:
    name, token = "SERVED_TOKEN", "s3cret-token-of-the-test"
    with Served(tmp_path, settings={"token_env": name}, env={name: token}) as served:
        body = {"queries": ["zinc"], "topk": 1}
        assert served.ask(path="/health")[0] == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
            status, said, _ = served.ask(body, headers=headers)
            assert status == 401
            assert "Bearer" in said["error"]
        assert served.ask(path="/metrics")[0] == served.ask(path="/document/1000")[0] == 401
        right = {"Authorization": f"Bearer {token}"}
        assert served.ask(body, headers=right)[0] == 200
        assert served.ask(path="/document/1000", headers=right)[0] == 200
    assert token not in served.said()


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"host": "0.0.0.0"}, 2, "without a token"),
        ({"token_env": "NOT_SET_ANYWHERE"}, 3, "NOT_SET_ANYWHERE is not set"),
        ({"host": "no.such.host.invalid", "token_env": "HOME"}, 2, "there is no address"),
    ],
)
def test_it_does_not_start(tmp_path: Path, settings: dict[str, Any], code: int, words: str) -> None:
    served = Served(tmp_path, settings=settings)
    served.start()
    assert served.process is not None
    assert served.process.wait(timeout=60) == code
    assert served.said().startswith("error: ")
    assert words in served.said()
    assert "Traceback" not in served.said()


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with Served(tmp_path / "first") as first:
        second = Served(tmp_path / "second", settings={"port": urlsplit(first.url).port})
        second.start()
        assert second.process is not None
        assert second.process.wait(timeout=60) == 4
        assert "Address already in use" in second.said()
        assert first.ask(path="/health")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_what_was_asked_is_answered(tmp_path: Path, number: int) -> None:
    with Served(tmp_path, seconds=0.7) as served:
        answers: list[Any] = []
        client = threading.Thread(target=lambda: answers.append(served.ask({"queries": ["zinc"], "topk": 1})))
        client.start()
        time.sleep(0.35)
        assert served.stop(number) == 0
        client.join(timeout=30)
        assert answers[0][:2] == (200, {"result": [[DOCUMENTS[2]]]})
        assert "Traceback" not in served.said()
