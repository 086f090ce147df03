"""The server and its client, over a real socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from residency.verifier import classifier, serve, served, text
from rewards import verifier as reward

PAIRS = [("yes", "yes"), ("no " * 40, "yes"), ("maybe", "no")]


@pytest.fixture
def url(verifier: Path) -> Iterator[str]:
    server = serve.server(classifier.held(str(verifier)), "127.0.0.1", 0, threads=1)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_served_and_held_say_the_same(url: str, verifier: Path) -> None:
    texts = [text.fill(text.TEMPLATE, *pair) for pair in PAIRS]
    wanted = classifier.held(str(verifier)).probabilities(PAIRS)
    assert served.probabilities(url, texts, batch_size=2) == pytest.approx(wanted, abs=1e-5)
    answers = [f"## Thinking\n\nx\n\n## Final Response\n\n{response}" for response, _ in PAIRS]
    found = [
        reward.score(
            data_sources=[""] * 3, solution_strs=answers, ground_truths=[r for _, r in PAIRS],
            extra_infos=[{}] * 3, **where,
        )
        for where in ({"url": url}, {"model": str(verifier)})
    ]  # fmt: skip
    assert [one["score"] for one in found[0]] == [one["score"] for one in found[1]]


def test_requests_that_are_none(url: str) -> None:
    assert requests.get(f"{url}/health", timeout=5).status_code == 200
    assert requests.get(f"{url}/other", timeout=5).status_code == 404
    assert requests.post(f"{url}/other", json={}, timeout=5).status_code == 404
    for body, words in (('{"input": 3}', "not a list of texts"), ("{", "Expecting"), ("[1]", "no attribute")):
        answer = requests.post(f"{url}/classify", data=body, timeout=5)
        assert answer.status_code == 400
        assert words in answer.json()["error"]
    assert (
        requests.post(f"{url}/classify", json={"input": "one text"}, timeout=5).json()["data"][0]["index"]
        == 0
    )


def test_a_model_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve.main([str(tmp_path / "nowhere")]) == 3
    assert "is not there" in capsys.readouterr().out


def test_a_port_in_use(url: str, verifier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = url.rpartition(":")[2]
    assert serve.main([str(verifier), "--port", port]) == 2
    assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().out
