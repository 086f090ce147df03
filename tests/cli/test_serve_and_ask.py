"""`launch.py serve` and `launch.py ask`: a real index, served, asked, stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "retrieval"))

from small_index import ROWS, make_index  # noqa: E402

LAUNCH = [sys.executable, str(PROJECT / "launch.py")]
RETRIEVER = str(PROJECT / "recipes" / "serve" / "retriever.yaml")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_index(tmp_path_factory.mktemp("made") / "index", ROWS)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "RESIDENCY_RUNS": str(tmp_path / "runs"),
        "RESIDENCY_CACHE": str(tmp_path / "cache"),
        "COLUMNS": "80",
    }


def launch(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, *words], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def test_ask_an_index(index: Path, env: dict[str, str]) -> None:
    done = launch("ask", "does aspirin prevent adenomas?", "--topk", "2", "--index", str(index), env=env)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == " 1. Aspirin and the colon"
    assert re.match(r"    PMID 11  https://pubmed.ncbi.nlm.nih.gov/11   score \d", lines[1])
    assert lines[2].startswith("    Aspirin prevented adenomas.")
    assert "…" in done.stdout
    assert max(map(len, lines)) <= 80
    zinc = launch("ask", "zinc", "--index", str(index), env=env).stdout
    assert "id x-1" in zinc
    assert "\x1b" not in zinc
    found = json.loads(launch("ask", "iron", "--index", str(index), "--format", "json", env=env).stdout)
    assert [hit["document"]["id"] for hit in found] == ["12"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["ask", "iron"], 3, "recipes/quickstart_retrieval.yaml"),
        (["ask", "iron", "--index", "no-such-run"], 3, "is neither an index, nor a run that made one"),
        (["ask", "iron", "--index", "/tmp"], 3, "holds no index"),
        (["ask", "iron", "--index", "http://127.0.0.1:9"], 4, "nothing listens there"),
        (["ask", " "], 2, "the question is empty"),
        (["ask", "iron", "--topk", "0"], 2, "at least 1"),
        (["ask", "iron", "--topc", "3"], 2, "did you mean --topk?"),
        (["serve", str(PROJECT / "recipes/quickstart.yaml")], 2, "is of kind `pipeline`"),
        (["serve", "none.yaml"], 2, "there is no file"),
        (["serve", RETRIEVER, "--set", "prot=1"], 2, "did you mean `port`?"),
        (["serve", RETRIEVER], 3, "there is no index quickstart-retrieval"),
        (["serve", RETRIEVER, "--set", "host=0.0.0.0"], 2, "token_env"),
        (["serve", RETRIEVER, "--set", "token_env=NOT_SET_HERE"], 3, "export NOT_SET_HERE"),
    ],
)
def test_what_is_said_when_it_cannot_be(words: list[str], code: int, said: str, env: dict[str, str]) -> None:
    done = launch(*words, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.fixture
def serving(index: Path, env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    argv = [*LAUNCH, RETRIEVER, "--set", f"params.index={index}", "--set", "port=0"]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = ""
    assert process.stdout is not None
    while "ready at " not in said:
        line = process.stdout.readline()
        assert line, said
        said = line if line.startswith("ready at") else ""
    found = re.search(r"http://[\w.:]+\d", said)
    assert found is not None
    yield process, found[0]
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_until_it_is_stopped(
    serving: tuple[subprocess.Popen[str], str], env: dict[str, str], number: int
) -> None:
    process, url = serving
    done = launch("ask", "iron", "in", "pregnancy", "--topk", "1", "--index", url, env=env)
    assert done.stdout.startswith(" 1. Iron in pregnancy"), done.stderr
    with urllib.request.urlopen(f"{url}/document/11", timeout=30) as answer:
        assert json.load(answer)["title"] == "Aspirin and the colon"
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/health", timeout=5)
    shown = launch("show", "retriever", env=env).stdout
    assert "retriever" in shown
    assert "done" in shown
    assert "stopped" in shown


@pytest.mark.slow
def test_a_server_that_is_killed_comes_back_where_it_was(
    serving: tuple[subprocess.Popen[str], str], env: dict[str, str]
) -> None:
    process, url = serving
    (address,) = Path(env["RESIDENCY_RUNS"]).glob("retriever/2*/services/retriever/address.json")
    first = json.loads(address.read_text())["pid"]
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 60
    while True:
        assert time.monotonic() < until
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                break
        except OSError:
            time.sleep(0.1)
    assert json.loads(address.read_text())["pid"] != first
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "restart 1 of 3" in said
