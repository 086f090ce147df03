"""verl as a child process of the stage's command, from its last whole checkpoint to the last step."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.verl import checkpoints, cluster, history, places
from residency.engines.verl.child import DRIVER, Child
from residency.errors import StageFailed
from residency.files import jsonl_rows, read_json, write_json, write_text

FAILED = "verl failed"
PASSED = "RESIDENCY_PASSED"
"""Names of the variables that the workers of a joined Ray cluster are given, with commas."""
ALWAYS_PASSED = (
    "PYTHONPATH",
    "VERL_FILE_LOGGER_PATH",
    "RESIDENCY_STAGE",
    "RESIDENCY_STEPS",
    "RESIDENCY_ATTEMPT",
    "RESIDENCY_CACHE",
    "RESIDENCY_MIRROR",
    "RESIDENCY_OFFLINE",
    "HF_HOME",
)


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


def child(stage: Mapping[str, Any], folder: Path) -> Child:
    """verl's process, not yet started."""
    return Child(folder, stage["env"])


def train(stage: Mapping[str, Any], folder: Path, steps: int, verl: Child) -> None:
    """Run verl to the step `steps`; returns at once when a checkpoint of that step is there.

    Raises:
        StageFailed: verl failed, or ended before that step.
    """
    home = folder / places.CHECKPOINTS
    last = checkpoints.newest(home)
    (folder / places.LOGGED).mkdir(exist_ok=True)
    if last is not None:
        _remember(folder, last)
        if last.step >= steps:
            return
    attempt = 1 + len(history.attempts(folder))
    write_json(folder / places.REWARDS, stage["rewards"])
    first = _first(stage, folder, last)
    _forget(folder / "outputs" / places.ROLLOUTS, last.step if last else -1)
    env = {
        "VERL_FILE_LOGGER_PATH": str(folder / places.LOGGED / f"{attempt}.jsonl"),
        "RESIDENCY_STAGE": str(folder),
        "RESIDENCY_STEPS": str(steps),
    }
    if stage.get("joins"):
        # Workers of a cluster have its environment, not ours: these they must be given.
        env |= cluster.authentication(stage["joins"], {**os.environ, **stage["env"]})
        given = stage["config"].get("env") or {}
        env[PASSED] = ",".join(dict.fromkeys([*stage["env"], *given, *ALWAYS_PASSED]))
    arguments = [
        *("--config-path", str(folder)),
        "--config-name",
        Path(places.CONFIG).stem,
        *first,
        *(f"~{name}" for name in stage["removed"]),
    ]
    print(" ".join([*DRIVER, *arguments]), flush=True)
    code = verl.run(arguments, env)
    if code > 0:
        raise StageFailed(FAILED)  # its log says why
    if code < 0:
        killed = -code == signal.SIGKILL
        raise StageFailed(
            f"verl was ended by {signal.Signals(-code).name}",
            "most often the system does that when memory runs out: lower data.train_batch_size, "
            "actor_rollout_ref.rollout.n or data.max_response_length"
            if killed
            else "see log.txt",
        )
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


def _first(stage: Mapping[str, Any], folder: Path, last: checkpoints.Checkpoint | None) -> list[str]:
    """What a resumed training is told beside its configuration.

    With `resume_mode: resume_path` the first attempt starts from that; later ones from their own.
    What was validated is not validated again.
    """
    if last is None:
        return []
    found = ["trainer.resume_mode=auto"] if stage.get("resume_path") else []
    every = int(stage.get("test_freq") or -1)
    if every < 1 or last.step % every or history.validated(folder, last.step):
        found.append("trainer.val_before_train=false")
    return found


def _remember(folder: Path, last: checkpoints.Checkpoint) -> None:
    """Log the row of the last checkpoint's step where verl was killed before it could."""
    kept = read_json(last.path / places.FIGURES)
    if kept and all(row["step"] != last.step or "step_seconds" not in row for row in history.rows(folder)):
        attempt = 1 + len(history.attempts(folder))
        write_text(folder / places.LOGGED / f"{attempt}.jsonl", json.dumps(kept) + "\n")


def _forget(rollouts: Path, step: int) -> None:
    """Leave out the rollouts that come after `step`: they will be made again."""
    if not rollouts.is_file():
        return
    kept = [row for row in jsonl_rows(rollouts.read_text(encoding="utf-8")) if row.get("step", 0) <= step]
    write_text(rollouts, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept))
