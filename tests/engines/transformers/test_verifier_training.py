"""The command of a verifier stage: trained, interrupted, refused."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_model import TEXTS, make_tiny_model

from residency.engines.base import Job
from residency.engines.transformers.verifier import train
from residency.engines.transformers.verifier.engine import ENGINE
from residency.errors import StageFailed
from residency.verifier import classifier

STEPS = 40
TRAINING = {
    "max_steps": STEPS,
    "per_device_train_batch_size": 16,
    "learning_rate": 3e-3,
    "logging_steps": 5,
    "save_steps": 10,
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(
        tmp_path_factory.mktemp("base"), [*TEXTS, "{response} = {reference} good bad fine poor"]
    )


@pytest.fixture
def make_job(base: Path, tmp_path: Path) -> Callable[..., Job]:
    """A job whose rows can be learnt: some responses are always right, others never."""

    def make(**keys: Any) -> Job:
        draw = random.Random(1)
        rows = [
            {
                "response": f"{word} {draw.randrange(999)}",
                "reference": "good",
                "label": word in ("good", "fine"),
            }
            for word in ("good", "bad", "fine", "poor") * 60
        ]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        config = {
            "kind": "verifier", "model": str(base), "dataset": "rows.jsonl", "holdout": 0.3,
            "template": "{response} = {reference}", "max_length": 64, "training": TRAINING, **keys,
        }  # fmt: skip
        return Job("v", "verifier", config, tmp_path / "store", tmp_path, tmp_path, threads=1)

    return make


def write(job: Job) -> None:
    job.folder.mkdir(parents=True, exist_ok=True)
    for name, text in ENGINE.prepare(job).files.items():
        (job.folder / name).write_text(text)


def run(job: Job) -> int:
    write(job)
    return train.main([str(job.folder / "stage.yaml")])


@pytest.mark.slow
def test_a_verifier_is_trained(make_job: Callable[..., Job]) -> None:
    job = make_job()
    assert run(job) == 0
    done = ENGINE.verify(job)
    figures = done.metrics
    assert figures["steps"] == STEPS
    assert figures["n"] > 40
    assert figures["accuracy"] > 0.95
    assert figures["accuracy_low"] < figures["accuracy"] <= figures["accuracy_high"]
    assert ENGINE.finished(job)
    logged = list(ENGINE.metrics(job))
    assert [row["step"] for row in logged] == list(range(5, STEPS + 1, 5))
    assert logged[-1]["loss"] < logged[0]["loss"]
    assert ENGINE.progress(job).step == STEPS
    # The reward's own code reads it as it was trained.
    held = classifier.held(str(done.outputs["model"]))
    assert held.settings.template == "{response} = {reference}"
    good, bad = held.probabilities([("good 5", "good"), ("bad 5", "good")])
    assert good > 0.9
    assert bad < 0.1
    predictions = [json.loads(line) for line in done.outputs["predictions"].read_text().splitlines()]
    assert len(predictions) == figures["n"]
    assert sum(row["correct"] for row in predictions) == round(figures["accuracy"] * figures["n"])


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same(make_job: Callable[..., Job], tmp_path: Path) -> None:
    """SIGKILL in the middle; the second attempt ends with the weights of a run that was not stopped."""
    straight = make_job()
    assert run(straight) == 0
    whole = (straight.outputs / "model" / "model.safetensors").read_bytes()
    wanted = [(row["step"], row["loss"]) for row in ENGINE.metrics(straight)]
    straight.folder.rename(tmp_path / "straight")

    job = make_job()
    write(job)
    launch = ENGINE.prepare(job)
    with (job.folder / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            launch.argv, cwd=job.folder, env={**os.environ, **launch.env}, stdout=log, stderr=log
        )
    # A checkpoint is whole once the next step has been logged.
    deadline = time.monotonic() + 120
    while (ENGINE.progress(job).step or 0) < 15 and time.monotonic() < deadline:
        assert process.poll() is None, (job.folder / "log.txt").read_text()
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not ENGINE.finished(job)
    came_from = ENGINE.resume(job)
    assert came_from is not None
    assert came_from.startswith("checkpoint-")
    step = int(came_from.partition("-")[2])
    assert 0 < step < STEPS
    assert [row["step"] for row in ENGINE.metrics(job)] == list(range(5, step + 1, 5))
    assert run(job) == 0
    assert ENGINE.verify(job).metrics["steps"] == STEPS
    assert [row["step"] for row in ENGINE.metrics(job)] == [step for step, _ in wanted]
    for row, (_, loss) in zip(ENGINE.metrics(job), wanted, strict=True):
        assert row["loss"] == pytest.approx(loss, rel=1e-4)
    assert (job.outputs / "model" / "model.safetensors").read_bytes() == whole


@pytest.mark.slow
def test_worse_than_asked_for(make_job: Callable[..., Job]) -> None:
    job = make_job(min_accuracy=0.999, training={**TRAINING, "max_steps": 1, "learning_rate": 1e-9})
    assert run(job) == 0
    with pytest.raises(StageFailed, match=r"`min_accuracy` asks for 99\.9%"):
        ENGINE.verify(job)


@pytest.mark.slow
def test_no_number(make_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job(training={**TRAINING, "learning_rate": 1e30, "max_grad_norm": 1e30, "logging_steps": 1})
    assert run(job) == 4
    assert "is not a number at step" in capsys.readouterr().out
    with pytest.raises(StageFailed, match="ended without a verifier"):
        ENGINE.verify(job)


def test_refused_arguments(make_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job(training={"load_best_model_at_end": True, "eval_strategy": "no"})
    assert run(job) == 2
    assert "error: `training`: " in capsys.readouterr().out


def test_no_model(make_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(make_job(model="/nowhere/model")) == 3
    assert "error: the model /nowhere/model is not there" in capsys.readouterr().out
