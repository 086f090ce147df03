"""A project in a folder, jobs in it, a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from residency.engines.base import Job
from residency.paths import PROJECT


def question(number: int, answer: str, **more: Any) -> dict[str, Any]:
    """One row in alpaca form."""
    return {
        "instruction": "Were the subjects human? Answer <answer>yes</answer> or <answer>no</answer>.",
        "input": f"Study {number}. " + "Thirty rats were given the drug. " * (1 + number % 5),
        "output": f"<answer>{answer}</answer>",
        "pmid": str(1000 + number),
        "question_type": "humans",
        **more,
    }


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., Path]:
    """Write `n` questions, every third answered yes, to a file."""

    def write(n: int, name: str = "questions.jsonl", labels: tuple[str, ...] = ("yes", "no", "no")) -> Path:
        path = tmp_path / name
        rows = [question(i, labels[i % len(labels)]) for i in range(n)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    return write


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    """A job of kind `evaluate` whose stage folder is below `tmp_path`."""

    def make(config: dict[str, Any], folder: str = "stage", gpus: int = 0) -> Job:
        return Job(
            name="evaluate",
            kind="evaluate",
            config={"kind": "evaluate", **config},
            folder=tmp_path / folder,
            recipe_folder=tmp_path,
            project=PROJECT,
            gpus=gpus,
            threads=1,
        )

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer model."""
    pytest.importorskip("transformers")
    from tiny_model import make_tiny_model

    texts = [json.dumps(question(i, "yes")) for i in range(5)]
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", texts)
