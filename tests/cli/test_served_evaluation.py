"""PubMedQA asked of a model that the launcher serves, and of the same model in process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_tiny_model

from residency.paths import PROJECT

pytestmark = pytest.mark.slow


def run(folder: Path, mirror: Path, *arguments: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The evaluation's results.json and its samples."""
    runs = folder / "runs"
    before = set(runs.rglob("results.json"))
    done = subprocess.run(
        [sys.executable, "launch.py", "recipes/evaluate/pubmedqa.yaml", *arguments],
        cwd=PROJECT,
        env={**os.environ, "RESIDENCY_RUNS": str(runs), "RESIDENCY_MIRROR": str(mirror)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (path,) = set(runs.rglob("results.json")) - before
    rows = (path.parent / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads(path.read_text(encoding="utf-8")), [json.loads(row) for row in rows]


def test_served_equals_in_process(tmp_path: Path, mirror_dir: Path) -> None:
    model = make_tiny_model(tmp_path / "tiny", tied=False)
    common = ("--set", f"model={model}", "--set", "limit=6", "--set", "batch=3")
    served, one = run(tmp_path, mirror_dir, *common, "--set", "dtype=float32", "--profile", "served")
    dtype = ("--set", "stages.evaluate.lm_eval.model_args.dtype=float32")
    local, two = run(tmp_path, mirror_dir, *common, *dtype)
    assert [row["prompt"] for row in one] == [row["prompt"] for row in two]
    assert [row["output"] for row in one] == [row["output"] for row in two]
    assert any(row["output"].strip() for row in one)
    assert served["scores"] == local["scores"]
    assert served["tasks"]["pubmedqa"]["prompt_hash"] == local["tasks"]["pubmedqa"]["prompt_hash"]
    assert served["engine"]["name"] == "residency"
    assert served["engine"]["api"] == "completions"
    assert local["engine"]["name"] == "transformers"
