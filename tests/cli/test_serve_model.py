"""`launch.py serve MODEL` and `launch.py chat`: a real model, served, asked, stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from residency.cli.serve import is_recipe

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests"))

from tiny_model import make_tiny_model  # noqa: E402

LAUNCH = [sys.executable, str(PROJECT / "launch.py")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("made") / "tiny")


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("served")
    return {
        **os.environ,
        "RESIDENCY_RUNS": str(folder / "runs"),
        "RESIDENCY_CACHE": str(folder / "cache"),
        "RESIDENCY_VENVS": str(folder / "venvs"),
        "COLUMNS": "80",
    }


def launch(*words: str, env: dict[str, str], said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LAUNCH, *words], env=env, input=said, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.fixture(scope="module")
def serving(model: Path, env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    argv = [*LAUNCH, "serve", str(model), "--port", "0", "--set", "transformers.max_model_len=300"]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said: list[str] = []
    assert process.stdout is not None
    while not said or not said[-1].startswith("ready at"):
        line = process.stdout.readline()
        assert line, "".join(said)
        said.append(line)
    found = re.search(r"http://[\w.:]+\d", said[-1])
    assert found is not None
    yield process, found[0]
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_model_is_served_and_talked_to(
    serving: tuple[subprocess.Popen[str], str], env: dict[str, str]
) -> None:
    process, url = serving
    with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as answer:
        (about,) = json.load(answer)["data"]
    assert (about["id"], about["max_model_len"]) == ("tiny", 300)
    said = "Hello\n\n/reset\nHello\n/system Answer yes or no.\nHello\n/nothing\n/quit\nnever asked\n"
    words = ["chat", url, "--max-tokens", "6", "--temperature", "0.7", "--seed", "3"]
    one, two = (launch(*words, env=env, said=said) for _ in range(2))
    assert one.returncode == 0, one.stderr
    assert one.stdout == two.stdout, "the same seed"
    assert "/nothing is no command" in one.stdout
    first, *_ = one.stdout.split("/nothing")
    assert first.strip()
    long = launch("chat", f"{url}/v1", env=env, said="yes " * 400 + "\n")
    assert long.returncode == 4
    assert "context is 300 tokens" in long.stderr
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert "done" in launch("show", "model", env=env).stdout


@pytest.mark.slow
def test_chat_starts_a_server_of_its_own(model: Path, env: dict[str, str]) -> None:
    done = launch("chat", str(model), "--max-tokens", "4", env=env, said="Hello\n")
    assert done.returncode == 0, done.stderr
    assert "loading" in done.stderr
    assert done.stdout.endswith("\n")
    address = max(
        Path(env["RESIDENCY_RUNS"]).glob("model/2*/services/model/address.json"), key=os.path.getmtime
    )
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(json.loads(address.read_text())["url"] + "/health", timeout=5)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["serve", "/no/model"], 3, "there is no folder /no/model"),
        (["serve", "/tmp"], 3, "holds no model"),
        (["serve", "{model}", "--engine", "vllm"], 3, "python launch.py setup vllm"),
        (["serve", "{model}", "--engine", "sglang"], 3, "python launch.py setup sglang"),
        (["serve", "{model}", "--engine", "vlm"], 2, "vllm"),
        (["serve", "{model}", "--set", "host=0.0.0.0"], 2, "token_env"),
        (["serve", "{model}", "--set", "transformers.bach=2"], 2, "did you mean `batch`?"),
        (["serve", str(PROJECT / "recipes/serve/retriever.yaml"), "--engine", "vllm"], 2, "is a recipe"),
        (["chat", "http://127.0.0.1:9"], 3, "python launch.py serve MODEL"),
        (["chat", "http://127.0.0.1:9", "--engine", "vllm"], 2, "--engine is for a model"),
        (["chat", "http://127.0.0.1:9", "--token-env", "NOT_SET_HERE"], 3, "export NOT_SET_HERE"),
        (["chat", "/no/model"], 3, "there is no folder /no/model"),
        (["chat", "{model}", "--engine", "vllm"], 3, "python launch.py setup vllm"),
    ],
)
def test_what_is_said_when_it_cannot_be(
    words: list[str], code: int, said: str, model: Path, env: dict[str, str]
) -> None:
    done = launch(*(word.replace("{model}", str(model)) for word in words), env=env)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_what_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe").write_text("kind: serve\n")
    assert is_recipe("none.yaml")
    assert is_recipe(str(tmp_path / "recipe"))
    assert not is_recipe(str(tmp_path))
    assert not is_recipe("owner/name")
