"""PPO with a critic and a verifier trained on the spot, on a CPU: killed in the middle of PPO, resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_tiny_model

from residency.files import jsonl_rows

PROJECT = Path(__file__).resolve().parents[2]
STEPS = 4
# Enough fine-tuning, in the tiny model's own chat template, that it writes the two headings and the
# verifier is asked.
FORM = (
    "params.sft_steps=300",
    "params.answer_tokens=80",
    "stages.sft.llamafactory.learning_rate=1.0e-3",
    "stages.sft.llamafactory.template=chatml",
)


def command(model: Path) -> list[str]:
    chosen = (*FORM, f"stages.model.recipe={model}", "stages.ppo.checkpoints.every=1", "params.batch=4")
    sets = [word for one in chosen for word in ("--set", one)]
    recipe = str(PROJECT / "recipes" / "examples" / "ppo_verifier.yaml")
    return [sys.executable, str(PROJECT / "launch.py"), recipe, "--plain", "--profile", "smoke", *sets]


def stage(runs: Path, name: str) -> Path:
    return runs / "ppo-verifier" / "latest" / "stages" / name


def rows(path: Path) -> list[dict[str, Any]]:
    return jsonl_rows(path.read_text()) if path.is_file() else []


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="kills process groups")
def test_killed_and_resumed(tmp_path: Path) -> None:
    questions = rows(PROJECT / "datasets" / "example_reasoning.jsonl")
    words = [f"{row['instruction']} {row['output']}" for row in questions]
    make_tiny_model(tmp_path / "model", words, vocabulary=900, layers=3, hidden=128)
    (tmp_path / "model.yaml").write_text(f"kind: export\nmodel: {tmp_path / 'model'}\n")
    runs = tmp_path / "runs"
    env = {**os.environ, "RESIDENCY_RUNS": str(runs), "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    with (tmp_path / "first.txt").open("wb") as said:
        launcher = subprocess.Popen(
            command(tmp_path / "model.yaml"), cwd=PROJECT, env=env, stdout=said, stderr=said
        )
    deadline = time.monotonic() + 600
    while not list(stage(runs, "ppo").glob("checkpoints/global_step_*/residency.json")):
        assert launcher.poll() is None, (tmp_path / "first.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()

    last = subprocess.run(
        command(tmp_path / "model.yaml"), cwd=PROJECT, env=env, capture_output=True, text=True, timeout=600
    )
    assert last.returncode == 0, last.stdout + last.stderr
    state = json.loads((stage(runs, "ppo") / "state.json").read_text())
    assert state["status"] == "done"
    assert state["resumed_from"] is not None
    logged = rows(stage(runs, "ppo") / "metrics.jsonl")
    assert [row["step"] for row in logged] == list(range(1, STEPS + 1))
    assert all("value_loss" in row for row in logged)  # the critic learns
    assert (stage(runs, "ppo") / "outputs" / "model" / "config.json").is_file()

    # The verifier was asked, and its word is the reward: 0.1 or 1.0 with the form, 0 without.
    rollouts = rows(stage(runs, "ppo") / "outputs" / "rollouts.jsonl")
    assert rollouts
    for row in rollouts:
        parts = row["components"]
        assert row["reward"] == pytest.approx(0.3 * parts["form"] + 0.7 * parts["verifier"])
        assert parts["verifier"] in ((0.1, 1.0) if parts["form"] == 1.0 else (0.0,))
    assert any(row["components"]["form"] == 1.0 for row in rollouts)
    assert json.loads((stage(runs, "verifier") / "state.json").read_text())["metrics"]["n"] > 20
