"""Our engine computes less than verl's and finds the same."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_tiny_model

PROJECT = Path(__file__).resolve().parents[4]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed"),
]


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), family=request.param)


@pytest.mark.parametrize("kind", ["actor", "critic"])
def test_losses_gradients_and_log_probs_are_verls(model: Path, kind: str) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compare_engines.py")), str(model), kind],
        env={**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-3000:]
    found: dict[str, dict[str, Any]] = json.loads(lines[0].removeprefix("RESULT "))
    verl = found.pop("verl")
    assert verl["grad_norm"] > 0.01
    for ours in found.values():
        assert ours["shared"] is True
        assert ours["loss"] == pytest.approx(verl["loss"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(verl["grad_norm"], rel=1e-5)
        assert ours["weights"] == pytest.approx(verl["weights"], rel=1e-6)
        assert ours["read"].keys() == verl["read"].keys() >= {"log_probs" if kind == "actor" else "values"}
        for name, rows in verl["read"].items():
            for mine, theirs in zip(ours["read"][name], rows, strict=True):
                assert mine == pytest.approx(theirs, abs=1e-5)
