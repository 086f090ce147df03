"""A real pipeline on a CPU: killed with SIGKILL in each stage, run again, the same result."""

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

from residency.files import sha256_file

PROJECT = Path(__file__).resolve().parents[2]
STAGES = ("data", "sft", "merged", "evaluate")
WITH_GUARD = {*STAGES, "contamination"}
"""Training questions are compared with those of the test first."""
RECIPE = """
kind: pipeline
name: tiny
stages:
  data:
    kind: data
    sources: {rows: {url: rows.jsonl}}
    datasets:
      questions: {from: rows, split: {train: 40, test: 8, by: pmid, seed: 1}}
  sft:
    kind: sft
    dataset: ${stages.data.outputs.questions_train}
    llamafactory:
      model_name_or_path: model
      template: smollm2
      stage: sft
      do_train: true
      finetuning_type: lora
      lora_rank: 4
      lora_target: all
      lora_dropout: 0.1
      cutoff_len: 128
      per_device_train_batch_size: 2
      max_steps: 8
      save_steps: 2
      logging_steps: 1
      learning_rate: 1.0e-2
      use_cpu: true
      seed: 3
  merged: {kind: export, model: model, adapter: "${stages.sft.outputs.adapter}"}
  evaluate:
    kind: evaluate
    model: ${stages.merged.outputs.model}
    tasks: [study_questions]
    data: {study_questions: "${stages.data.outputs.questions_test}"}
    lm_eval: {batch_size: 2, apply_chat_template: true}
"""


def make_project(folder: Path) -> None:
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(48):
        label = "yes" if number % 2 else "no"
        rows.append(
            {
                "system": "You answer questions.",
                "instruction": "Human? Say <answer>yes</answer> or <answer>no</answer>.",
                "input": f"Study {number} of {'patients' if number % 2 else 'rats'}.",
                "output": f"<answer>{label}</answer>",
                "pmid": str(number),
                "question_type": "humans",
                "label": label,
            }
        )
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    make_tiny_model(
        folder / "model", [f"{r['system']} {r['instruction']} {r['input']} {r['output']}" for r in rows]
    )
    (folder / "recipe.yaml").write_text(RECIPE)


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(PROJECT / "launch.py"), "recipe.yaml", "--plain", *arguments]


def environment(runs: Path) -> dict[str, str]:
    return {**os.environ, "RESIDENCY_RUNS": str(runs), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def latest(runs: Path) -> dict[str, dict[str, Any]]:
    """The stages' states in the latest run, by name; empty before there is one."""
    found = {}
    for path in (runs / "tiny" / "latest" / "stages").glob("*/state.json"):
        found[path.parent.name] = json.loads(path.read_text())
    return found


def wait_until_busy(launcher: subprocess.Popen[str], runs: Path, stage: str) -> None:
    """Until a stage has a process and has done something worth losing."""
    deadline = time.monotonic() + 600
    store = runs / "store"
    while time.monotonic() < deadline:
        assert launcher.poll() is None, f"it ended before {stage} could be killed"
        for folder in store.glob(f"{KIND[stage]}-*"):
            state = folder / "state.json"
            if not state.is_file() or json.loads(state.read_text()).get("name") != stage:
                continue
            if json.loads(state.read_text())["status"] != "running":
                continue
            if stage != "sft" or any((folder / "training").glob("checkpoint-4/trainer_state.json")):
                return
        time.sleep(0.01)
    raise AssertionError(f"{stage} did not start")


KIND = {"data": "data", "sft": "sft", "merged": "export", "evaluate": "evaluate"}


def result(runs: Path) -> dict[str, Any]:
    stages = runs / "tiny" / "latest" / "stages"
    scores = json.loads((stages / "evaluate" / "outputs" / "results.json").read_text())["scores"]
    return {
        "train": sha256_file(stages / "data" / "outputs" / "questions_train.jsonl"),
        "adapter": sha256_file(stages / "sft" / "outputs" / "adapter" / "adapter_model.safetensors"),
        "model": sha256_file(stages / "merged" / "outputs" / "model" / "model.safetensors"),
        "samples": (stages / "evaluate" / "outputs" / "samples.jsonl").read_text(),
        "scores": scores,
    }


def processes_below(folder: Path) -> list[str]:
    """Command lines of processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve().is_relative_to(folder):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_killed_in_each_stage_it_ends_with_the_same_result(tmp_path: Path) -> None:
    make_project(tmp_path / "project")
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    whole = subprocess.run(
        command(),
        cwd=tmp_path / "project",
        env=environment(calm),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert whole.returncode == 0, whole.stdout + whole.stderr
    assert set(latest(calm)) == WITH_GUARD

    for stage in STAGES:
        launcher = subprocess.Popen(
            command(),
            cwd=tmp_path / "project",
            env=environment(killed),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        wait_until_busy(launcher, killed, stage)
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()

    last = subprocess.run(
        command(),
        cwd=tmp_path / "project",
        env=environment(killed),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert last.returncode == 0, last.stdout + last.stderr
    states = latest(killed)
    assert {name: state["status"] for name, state in states.items()} == dict.fromkeys(WITH_GUARD, "done")
    assert states["sft"]["resumed_from"] in ("checkpoint-4", "checkpoint-6", "checkpoint-8")
    assert result(killed) == result(calm)

    logged = [
        json.loads(line)
        for line in (killed / "tiny" / "latest" / "stages" / "sft" / "metrics.jsonl").read_text().splitlines()
    ]
    steps = [row["step"] for row in logged if "loss" in row]
    assert steps == list(range(1, 9)), "each step once, in order, over both attempts"

    deadline = time.monotonic() + 60
    while processes_below(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_below(tmp_path) == []
    # A hidden temporary file may be left of a write that SIGKILL cut off, never among the outputs.
    assert not list((killed / "store").glob("*/outputs/**/.*.part"))

    began = time.monotonic()
    again = subprocess.run(
        command(),
        cwd=tmp_path / "project",
        env=environment(killed),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert again.returncode == 0
    assert again.stdout.count("reused") == len(WITH_GUARD)
    assert time.monotonic() - began < 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_interrupted_by_the_user_it_exits_5_and_goes_on(tmp_path: Path) -> None:
    make_project(tmp_path / "project")
    runs = tmp_path / "runs"
    launcher = subprocess.Popen(
        command("--only", "data"), cwd=tmp_path / "project", env=environment(runs), stdout=subprocess.DEVNULL
    )
    assert launcher.wait(timeout=600) == 0
    launcher = subprocess.Popen(
        command("--only", "sft"), cwd=tmp_path / "project", env=environment(runs), stdout=subprocess.DEVNULL
    )
    wait_until_busy(launcher, runs, "sft")
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(timeout=300) == 5
    assert processes_below(tmp_path / "runs") == []
    assert latest(runs)["sft"]["status"] == "interrupted"
    launcher = subprocess.Popen(
        command("--only", "sft"), cwd=tmp_path / "project", env=environment(runs), stdout=subprocess.DEVNULL
    )
    assert launcher.wait(timeout=600) == 0
    assert latest(runs)["sft"]["metrics"]["steps"] == 8
