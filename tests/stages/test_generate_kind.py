"""What `kind: generate` leaves, and what its fingerprint covers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from residency import stages
from residency.engines.base import Job
from residency.engines.lm_eval.engine import ENGINE, SERVED
from residency.paths import PROJECT
from residency.rows.formats import entry

KIND = stages.get("generate")


def test_its_dataset_is_registered_in_its_format() -> None:
    assert KIND.outputs({})["dataset"].dataset == entry("alpaca")
    assert KIND.outputs({"format": "openai"})["dataset"].dataset == entry("openai")
    assert KIND.outputs({"format": "rows"})["dataset"].dataset is None
    assert set(KIND.outputs({})) == {"dataset", "samples", "rejected", "report"}


def test_what_counts(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"a": 1}) + "\n")
    (tmp_path / "m").mkdir()
    config: dict[str, Any] = {
        "dataset": "rows.jsonl",
        "model": "m",
        "filters": [{"fn": "processors.generated.words"}, {"reward": "rewards.pubmedqa.answer"}],
    }
    found = KIND.inputs(config, tmp_path, PROJECT)
    assert set(found.files) == {tmp_path / "m", tmp_path / "rows.jsonl"}
    assert {"processors.generated.words", "rewards.pubmedqa.answer"} <= set(found.functions)
    # How fast a server is asked changes nothing; which server does.
    assert {"endpoint.concurrency", "endpoint.key_env", "endpoint.retries", "endpoint.timeout"} <= set(
        found.ignore
    )
    assert "endpoint.url" not in found.ignore
    assert "endpoint.concurrency" in stages.get("evaluate").inputs({"tasks": []}, tmp_path, PROJECT).ignore


def test_who_answers() -> None:
    evaluate = stages.get("evaluate")
    assert evaluate.engine({"model": "m"}) is ENGINE
    assert evaluate.engine({"endpoint": {"url": "http://h"}}) is SERVED


def test_the_command_reads_what_the_recipe_says(tmp_path: Path) -> None:
    """Also where the data is yet to be made by another stage."""
    made = str(tmp_path / "store" / "dataset.jsonl")
    job = Job(
        name="gen",
        kind="generate",
        config={"dataset": made, "endpoint": {"url": "http://h"}, "limit": None, "json": True},
        folder=tmp_path / "stage",
        recipe_folder=tmp_path,
        project=PROJECT,
    )
    launch = KIND.engine(job.config).prepare(job)
    text = launch.files["stage.yaml"]
    assert made in text
    assert "json: true" in text
    assert "limit" not in text
    assert launch.env["CUDA_VISIBLE_DEVICES"] == ""
