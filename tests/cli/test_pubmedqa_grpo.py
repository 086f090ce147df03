"""The single-card system on a CPU, on PubMedQA itself: killed in the middle of GRPO, resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_tiny_model

from residency.cli.main import main
from residency.files import jsonl_rows

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = PROJECT / "recipes" / "pubmedqa" / "grpo.yaml"
STEPS = 3


def rows(path: Path) -> list[dict[str, Any]]:
    return jsonl_rows(path.read_text()) if path.is_file() else []


@pytest.mark.parametrize("card", [8, 16, 24, 80])
def test_the_presets_stand_within_their_cards(
    card: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `plan` expects them to need leaves a card's driver its share."""
    monkeypatch.setenv("RESIDENCY_RUNS", str(tmp_path))
    assert main(["plan", str(RECIPE), "--profile", f"gpu{card}"]) == 0
    (needed,) = re.findall(r"memory +about ([\d.]+) GiB of a GPU", capsys.readouterr().out)
    assert 0.5 * card < float(needed) < 0.92 * card


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="kills process groups")
def test_the_smoke_profile_killed_and_resumed(tmp_path: Path, mirror_dir: Path) -> None:
    (file,) = mirror_dir.glob("raw.githubusercontent.com/pubmedqa/pubmedqa/*/data/ori_pqal.json")
    texts = [" ".join(record["CONTEXTS"]) for record in json.loads(file.read_text()).values()]
    make_tiny_model(tmp_path / "model", texts[:200], vocabulary=1500)
    (tmp_path / "model.yaml").write_text(f"kind: export\nmodel: {tmp_path / 'model'}\n")
    runs = tmp_path / "runs"
    env = {**os.environ, "RESIDENCY_RUNS": str(runs), "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    sets = [f"stages.model.recipe={tmp_path / 'model.yaml'}", "params.prompt_tokens=900"]
    argv = [sys.executable, str(PROJECT / "launch.py"), str(RECIPE), "--plain", "--profile", "smoke"]
    argv += ["--mirror", str(mirror_dir), *(word for one in sets for word in ("--set", one))]
    grpo = runs / "pubmedqa-grpo" / "latest" / "stages" / "grpo"

    with (tmp_path / "first.txt").open("wb") as said:
        launcher = subprocess.Popen(argv, cwd=PROJECT, env=env, stdout=said, stderr=said)
    deadline = time.monotonic() + 600
    while not list(grpo.glob("checkpoints/global_step_*/residency.json")):
        assert launcher.poll() is None, (tmp_path / "first.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()

    last = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=900)
    assert last.returncode == 0, last.stdout + last.stderr
    state = json.loads((grpo / "state.json").read_text())
    assert (state["status"], state["metrics"]["steps"]) == ("done", STEPS)
    assert state["resumed_from"] is not None
    logged = rows(grpo / "metrics.jsonl")
    assert [row["step"] for row in logged] == list(range(1, STEPS + 1))
    assert {"rewards/answer/mean", "rewards/format/mean"} <= logged[-1].keys()

    gold = json.loads((grpo / "gold.json").read_text())
    assert gold["rows"] > 0, "the rewards were tried before the training"
    report = json.loads((grpo / "data" / "report.json").read_text())
    assert report["train"]["read"] == 500, "the official test questions are not among them"
    assert "after " in last.stdout
