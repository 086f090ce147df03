"""Runs an `evaluate` stage's command as the runner does."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from residency.engines.base import Job
from residency.engines.lm_eval.engine import ENGINE

TIMEOUT = 900


def start(job: Job) -> subprocess.Popen[bytes]:
    """What the runner does: write the files, run the command in the stage's folder."""
    launch = ENGINE.prepare(job)
    ENGINE.resume(job)
    for name, text in launch.files.items():
        path = job.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    with (job.folder / "log.txt").open("ab") as log:
        return subprocess.Popen(
            launch.argv, cwd=job.folder, env={**os.environ, **launch.env}, stdout=log, stderr=log
        )


def finish(job: Job, process: subprocess.Popen[bytes]) -> str:
    """Wait for a command that must end well; its log."""
    code = process.wait(TIMEOUT)
    log = (job.folder / "log.txt").read_text(encoding="utf-8")
    assert code == 0, log[-4000:]
    return log


def samples(job: Job) -> list[dict[str, Any]]:
    """The rows of samples.jsonl."""
    return [json.loads(line) for line in (job.outputs / "samples.jsonl").read_text("utf-8").splitlines()]
