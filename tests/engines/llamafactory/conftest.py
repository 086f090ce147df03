"""A project with data and a tiny model, and a way to run a training stage without the launcher."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import TEXTS, make_tiny_model
from training_case import INFO, PAIRS, ROWS

from residency.engines.base import Job


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with dataset_info.json and two small datasets."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "toy.json").write_text(json.dumps(ROWS))
    (folder / "data" / "pairs.json").write_text(json.dumps(PAIRS))
    (folder / "dataset_info.json").write_text(json.dumps(INFO))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that knows the words of the rows."""
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), [*TEXTS, *(r["instruction"] for r in ROWS)])


@pytest.fixture
def make_job(tmp_path: Path, project: Path) -> Callable[..., Job]:
    """Makes the job of an `sft` recipe."""

    def make(block: dict[str, Any], *, dataset: Any = "toy", gpus: int = 0, **more: Any) -> Job:
        config = {"kind": "sft", "name": "toy", "llamafactory": block, **more.pop("config", {})}
        if dataset is not None:
            config["dataset"] = dataset
        folder = tmp_path / "store" / more.pop("key", "sft-0123")
        return Job(
            name="sft", kind="sft", config=config, folder=folder, recipe_folder=project, project=project,
            gpus=gpus, threads=1, **more,
        )  # fmt: skip

    return make
