"""Evidence put into rows by a search."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from processors.evidence import retrieve
from residency.errors import RecipeInvalid, StageFailed
from residency.processing import Report


class Search(BaseHTTPRequestHandler):
    """Finds for each query two documents that repeat it; nothing for "nothing"."""

    asked: ClassVar[list[dict[str, Any]]] = []
    status: ClassVar[int] = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        found = [
            []
            if query == "nothing"
            else [
                {"document": {"pmid": 7, "contents": f"T\n{query}"}, "score": 2.0},
                {"document": {"id": "x", "title": "U", "text": "more"}, "score": 1.0},
            ][: body["topk"]]
            for query in body["queries"]
        ]
        said = json.dumps({"result": found} if self.status == 200 else {"error": "broken"}).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Search)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Search.asked, Search.status = [], 200
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_rows_get_what_is_found(url: str) -> None:
    rows = [{"question": "one?"}, {"question": "nothing"}, {"question": "one?"}, {"question": ""}]
    report = Report()
    found = list(retrieve(iter(rows), url=url, topk=2, batch=3, report=report))
    assert found[0] == {"question": "one?", "context": ["T\none?", "U\nmore"], "evidence": ["7", "x"]}
    assert [row["context"] for row in found] == [found[0]["context"], [], found[0]["context"], []]
    assert report.notes == {"rows without evidence": 2}
    assert [body["queries"] for body in Search.asked] == [["one?", "nothing"]]


def test_options_can_be_looked_up_too(url: str) -> None:
    row = {"question": "which?", "options": {"A": "aspirin", "B": "none"}}
    list(retrieve(iter([row]), url=url, options=True))
    assert Search.asked[0]["queries"] == ["which? aspirin none"]


def test_a_search_that_fails_is_no_lack_of_evidence(url: str) -> None:
    Search.status = 400
    with pytest.raises(StageFailed, match="broken"):
        list(retrieve(iter([{"question": "one?"}]), url=url))


def test_without_a_server() -> None:
    with pytest.raises(RecipeInvalid, match="no server"):
        list(retrieve(iter([{"question": "one?"}])))
