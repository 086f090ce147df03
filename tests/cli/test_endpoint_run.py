"""The launcher with stages that ask a server: exit codes, what is said, what is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from openai_stub import Answer, Stub, text

from residency.paths import PROJECT

pytestmark = pytest.mark.slow

RECIPE = """\
kind: pipeline
name: asked
params: {url: "http://127.0.0.1:9", key: {type: string, default: null}}
services: {model: {url: "${params.url}", health: /v1/models}}
stages:
  gen:
    kind: generate
    endpoint: {url: "${services.model.url}", key_env: "${params.key}", retries: 0, concurrency: 2}
    dataset: rows.jsonl
    prompt: {user: "{question}"}
    filters: [{reward: rewards.pubmedqa.answer}]
  again:
    kind: generate
    endpoint: {url: "${services.model.url}", key_env: "${params.key}", retries: 0}
    dataset: ${stages.gen.outputs.dataset}
"""


def launch(folder: Path, *arguments: str, **env: str) -> tuple[int, str]:
    """launch.py on RECIPE; its exit code and all it said."""
    done = subprocess.run(
        [sys.executable, str(PROJECT / "launch.py"), "recipe.yaml", *arguments],
        cwd=folder,
        env={**os.environ, "RESIDENCY_RUNS": str(folder / "runs"), **env},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the recipe and twenty rows."""
    (tmp_path / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    rows = [{"id": i, "question": f"Is {i} even?", "label": "no" if i % 2 else "yes"} for i in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def test_a_server_that_dies_half_way(folder: Path) -> None:
    dead = {"now": False}

    def behave(path: str, body: dict[str, Any], before: int) -> Answer:
        dead["now"] = dead["now"] or before == 7
        return (
            Answer(500, {"error": "out of memory"})
            if dead["now"]
            else text("<answer>yes</answer>", chat=True)
        )

    stub = Stub(behave)
    code, said = launch(folder, "--set", f"url={stub.url}")
    assert code == 4, said
    assert "it answered 500: out of memory" in said
    assert "answers are kept: the same command asks only for what is left" in said
    asked = len(stub.asked("/v1/chat/completions"))
    dead["now"] = False
    stub.behave = lambda path, body, before: text("<answer>yes</answer>", chat=True)
    code, said = launch(folder, "--set", f"url={stub.url}")
    stub.stop()
    assert code == 0, said
    # 7 are kept of the first attempt, 13 left; 10 rows go through the filter and are asked again.
    assert len(stub.asked("/v1/chat/completions")) - asked == 13 + 10
    found = list((folder / "runs").rglob("dataset.jsonl"))
    assert sorted(len(path.read_text("utf-8").splitlines()) for path in found) == [10, 10]


def test_a_key_that_is_missing(folder: Path) -> None:
    """It is said before anything starts."""
    stub = Stub(lambda *_: text("<answer>yes</answer>", chat=True))
    code, said = launch(folder, "--set", f"url={stub.url}", "--set", "key=STUB_KEY")
    stub.stop()
    assert code == 3, said
    assert "a secret is not set: STUB_KEY (stage gen)" in said
    assert "export STUB_KEY=" in said
    assert stub.requests == []


def test_a_wrong_key(folder: Path) -> None:
    text_ = RECIPE.replace('services: {model: {url: "${params.url}", health: /v1/models}}\n', "")
    (folder / "recipe.yaml").write_text(text_.replace("services.model.url", "params.url"), encoding="utf-8")
    stub = Stub(lambda *_: text("<answer>yes</answer>", chat=True), key="sk-right-0123456789")
    arguments = ("--set", f"url={stub.url}", "--set", "key=STUB_KEY")
    code, said = launch(folder, *arguments, STUB_KEY="sk-wrong-0123456789")
    assert code == 3, said
    assert "does not take the key in STUB_KEY" in said
    code, said = launch(folder, *arguments, STUB_KEY="sk-right-0123456789")
    stub.stop()
    assert code == 0, said
    for path in (folder / "runs").rglob("*"):
        if path.is_file():
            assert b"sk-right" not in path.read_bytes(), path
