"""The search tool: its text, its bounds, its patience, and what it says when a look-up fails."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from served_case import DOCUMENTS, Served

from residency.engines.verl.driver.tool_calls import guarded
from residency.engines.verl.tool_schemas import schema
from residency.errors import RecipeInvalid
from residency.retrieval import client, tool
from residency.retrieval.client import SearchFailed
from residency.retrieval.tool import BETWEEN, NOTHING, estimated, search, told


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def use(url: str, **more: str) -> None:
        monkeypatch.setenv(tool.URL, url)
        for name, value in more.items():
            monkeypatch.setenv(f"RESIDENCY_SEARCH_{name}", value)

    return use


Reply = tuple[int, Any, dict[str, str]]


@pytest.fixture
def server() -> Iterator[Callable[[list[Reply]], str]]:
    """A server that gives these replies in turn, the last one for ever."""
    servers: list[ThreadingHTTPServer] = []

    def start(replies: list[Reply]) -> str:
        left = list(replies)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                status, said, headers = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said if isinstance(said, bytes) else json.dumps(said).encode())

            def log_message(self, *args: Any) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for one in servers:
        one.shutdown()
        one.server_close()


FOUND = {"result": [[{"document": DOCUMENTS[0], "score": 0.5}]]}


def test_the_published_form(served: Served, at: Callable[..., None]) -> None:
    at(served.url, TOPK="2")
    assert search(["aspirin", "zinc"]) == (
        'Doc 1 (Title: "Title 0")\nText of aspirin.\n\n'
        'Doc 2 (Title: "Title 6")\nText of aspirin and iron.'
        "\n---\n"
        'Doc 1 (Title: "Title 2")\nText of zinc.'
    )


def test_nothing_found_is_said_and_is_no_error(served: Served, at: Callable[..., None]) -> None:
    at(served.url)
    assert search(["molybdenum"]) == NOTHING
    assert search(["molybdenum", "zinc"]).startswith(NOTHING + BETWEEN + "Doc 1")
    assert "Error" not in NOTHING


def test_equal_and_empty_queries(served: Served, at: Callable[..., None]) -> None:
    at(served.url, TOPK="1")
    zinc = 'Doc 1 (Title: "Title 2")\nText of zinc.'
    assert search(["zinc", " zinc ", ""]) == BETWEEN.join([zinc, zinc, NOTHING])


def test_what_a_model_may_write(served: Served, at: Callable[..., None]) -> None:
    at(served.url, QUERIES="2", TOPK="1")
    assert search(["zinc"] * 50).count("Doc 1") == 2
    assert search("zinc").startswith("Doc 1")  # type: ignore[arg-type]
    assert search(["zinc " * 20_000 + "iron"]).startswith("Doc 1")
    assert search(["zinc \ud800\x00"]).startswith("Doc 1")
    for wrong in ([], [""], ["  "], [1], {"a": 1}, None):
        with pytest.raises(ValueError, match=r"query"):
            search(wrong)  # type: ignore[arg-type]


def test_it_is_described_to_a_model() -> None:
    made = schema("residency.retrieval.tool.search")["function"]
    assert made["name"] == "search"
    assert made["parameters"]["properties"]["query_list"]["type"] == "array"
    assert made["parameters"]["required"] == ["query_list"]


def test_verl_gets_an_error_for_a_failed_look_up(
    at: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    at("http://127.0.0.1:9", SECONDS="1")
    said = asyncio.run(guarded(search, 20)(query_list=["zinc"]))
    assert said.startswith("Error: the search at http://127.0.0.1:9/retrieve failed")
    assert "nothing listens there" in said
    monkeypatch.delenv(tool.URL)
    assert asyncio.run(guarded(search, 20)(query_list=["zinc"])).startswith(
        "Error: RESIDENCY_SEARCH_URL is not"
    )


def test_it_tries_again(server: Callable[[list[Reply]], str], at: Callable[..., None]) -> None:
    busy: Reply = (503, {"error": "9 queries wait already"}, {"Retry-After": "0"})
    at(server([busy, (500, b"oops", {}), (502, b"", {}), (200, FOUND, {})]))
    assert search(["aspirin"]).startswith("Doc 1")


def test_it_gives_up_in_time(server: Callable[[list[Reply]], str], at: Callable[..., None]) -> None:
    at(server([(503, {"error": "busy"}, {"Retry-After": "1"})]), SECONDS="2")
    with pytest.raises(SearchFailed, match=r"failed \(\d tries\): 503 busy"):
        search(["aspirin"])


def test_what_another_try_would_not_mend(
    server: Callable[[list[Reply]], str], at: Callable[..., None]
) -> None:
    for reply in ((422, {"error": "`topk` is 0"}, {}), (401, {"error": "wants a token"}, {}), (404, b"", {})):
        at(server([reply, (200, FOUND, {})]))
        with pytest.raises(SearchFailed, match=f"refused: {reply[0]}"):
            search(["aspirin"])
    for said in (b"no json", {"result": [[], []]}, {"other": 1}, {"result": ["x"]}):
        at(server([(200, said, {})]), SECONDS="1")
        with pytest.raises(SearchFailed):
            search(["aspirin"])


def test_documents_without_scores(server: Callable[[list[Reply]], str], at: Callable[..., None]) -> None:
    at(server([(200, {"result": [[DOCUMENTS[0]]]}, {})]))
    assert search(["aspirin"]).startswith('Doc 1 (Title: "Title 0")')


def test_the_token_is_sent(tmp_path: Path, at: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    with Served(tmp_path, settings={"token_env": "T"}, env={"T": "a-token-for-tests-1"}) as served:
        at(served.url)
        with pytest.raises(SearchFailed, match="refused: 401"):
            search(["zinc"])
        monkeypatch.setenv(client.TOKEN_ENV, "a-token-for-tests-1")
        assert search(["zinc"]).startswith("Doc 1")


def documents(*words: int) -> list[dict[str, Any]]:
    return [{"contents": f'"T"\n{" ".join(["word"] * count)}'} for count in words]


def test_tokens_are_shared_out() -> None:
    text = told([documents(500, 3), documents(500)], 300, estimated)
    first, second = text.split(BETWEEN)
    sizes = [estimated(part, 10**6)[1] for part in (*first.split("\n\n"), second)]
    assert sum(sizes) <= 300
    assert sizes[1] < 20, "the short one is whole"
    assert sizes[2] > 180, "what the short one left goes to the last"
    assert told([documents(10)], 10**6, estimated).endswith("word")


@given(st.text(max_size=300), st.integers(0, 60))
def test_an_estimated_cut_is_a_beginning_and_never_too_long(text: str, tokens: int) -> None:
    found, used = estimated(text, tokens)
    assert text.startswith(found)
    assert used <= tokens or found == ""
    assert estimated(found, 10**9)[1] <= tokens


def test_a_tokenizer_counts(tmp_path: Path, served: Served, at: Callable[..., None]) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    at(served.url, TOPK="1", TOKENS="12", TOKENIZER=str(tmp_path))
    # Doc 1 ( Title : " Title 2 ") Text of zinc . are 13 by this one.
    assert search(["zinc"]) == 'Doc 1 (Title: "Title 2")\nText of zinc'
    at(served.url, TOKENIZER=str(tmp_path / "none"))
    with pytest.raises(RecipeInvalid, match="no tokenizer can be read"):
        search(["zinc"])


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5"])
def test_a_setting_that_is_no_number(served: Served, at: Callable[..., None], value: str) -> None:
    at(served.url, TOPK=value)
    with pytest.raises(RecipeInvalid, match="RESIDENCY_SEARCH_TOPK"):
        search(["zinc"])
