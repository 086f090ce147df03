"""verl as a child process of the stage's command, from its last whole checkpoint to the last step."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.verl import checkpoints, places, shm
from residency.errors import StageFailed
from residency.files import write_json

ARGV = ("-m", "residency.engines.verl.driver.train", "--config-path")


def expected_steps(stage: Mapping[str, Any], report: Mapping[str, Any]) -> int:
    """The step at which the training ends, by verl's own reckoning.

    Raises:
        StageFailed: there are fewer prompts than one batch takes.
    """
    rows, batch = int(report["train"]["kept"]), int(stage["batch"])
    a_pass = rows // batch
    if a_pass < 1:
        raise StageFailed(
            f"{rows} prompts are left to train on, and one batch takes {batch}",
            "lower verl.data.train_batch_size, or give more prompts",
        )
    total = a_pass * int(stage["epochs"])
    return min(total, int(stage["steps"])) if stage.get("steps") else total


def train(stage: Mapping[str, Any], folder: Path, steps: int) -> None:
    """Run verl to the step `steps`; returns at once when a checkpoint of that step is there.

    Raises:
        StageFailed: verl failed, or ended before that step.
    """
    home = folder / places.CHECKPOINTS
    last = checkpoints.newest(home)
    if last is not None and last.step >= steps:
        return
    attempt = 1 + len(list((folder / places.LOGGED).glob("*.jsonl")))
    (folder / places.LOGGED).mkdir(exist_ok=True)
    write_json(folder / places.REWARDS, stage["rewards"])
    ray = places.ray_folder(folder)
    env = {
        **os.environ,
        **stage["env"],
        "VERL_FILE_LOGGER_PATH": str(folder / places.LOGGED / f"{attempt}.jsonl"),
        "RESIDENCY_STAGE": str(folder),
        "RESIDENCY_STEPS": str(steps),
    }
    argv = [
        sys.executable,
        *ARGV,
        str(folder),
        "--config-name",
        Path(places.CONFIG).stem,
        *_first(stage, last),
        *(f"~{name}" for name in stage["removed"]),
    ]
    print(" ".join(argv), flush=True)
    before = shm.segments()
    child = subprocess.Popen(argv, cwd=folder, env=env)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        code = child.wait()
    finally:
        shutil.rmtree(ray, ignore_errors=True)
        shm.remove_since(before)
    if code != 0:
        raise SystemExit(code if code > 0 else 128 - code)
    reached = checkpoints.newest(home)
    if reached is None or (last is not None and reached.step <= last.step):
        at = f"step {last.step:,}" if last else "the first step"
        raise StageFailed(
            f"verl ended without an error, and without a step beyond {at}",
            f"it should have gone to step {steps:,}; see log.txt",
        )
    if reached.step < steps:
        raise StageFailed(
            f"verl ended at step {reached.step:,} of {steps:,}", "run the same command to go on; see log.txt"
        )


def _first(stage: Mapping[str, Any], last: checkpoints.Checkpoint | None) -> list[str]:
    """With `resume_mode: resume_path` the first attempt starts from that; later ones from their own."""
    return ["trainer.resume_mode=auto"] if stage.get("resume_path") and last is not None else []
