"""Real trainings of a tiny model through LLaMA-Factory."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from training_case import run, started, tiny_block

from residency.engines.base import Job
from residency.engines.llamafactory.engine import ENGINE
from residency.errors import StageFailed

pytestmark = pytest.mark.slow


def log(job: Job) -> str:
    return (job.folder / "log.txt").read_text(errors="replace")[-3000:]


def test_lora(make_job: Callable[..., Job], tiny_model: Path, tmp_path: Path) -> None:
    job = make_job(
        tiny_block(
            tiny_model,
            output_dir=str(tmp_path / "published"),
            val_size=4,
            eval_strategy="steps",
            eval_steps=2,
        )
    )
    assert ENGINE.resume(job) is None
    assert run(job) == 0, log(job)
    done = ENGINE.verify(job)
    adapter = done.outputs["adapter"]
    names = {path.name for path in adapter.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"} <= names
    assert not any(
        name.startswith("checkpoint-") or "trainer" in name or name.endswith(".bin") for name in names
    )
    assert done.metrics["steps"] == 4
    assert 0 < done.metrics["last_loss"] < 20
    assert 0 < done.metrics["eval_loss"] < 20
    # With the template's own words no row fits into 64 tokens of this tokenizer.
    assert done.metrics["rows_cut"] == 24
    assert any(text.startswith("24 of 24 rows (100%) were cut") for text in done.warnings)
    rows = list(ENGINE.metrics(job))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all(row["total"] == 4 and row["loss"] > 0 for row in rows)
    assert "eval_loss" in rows[1]
    assert ENGINE.progress(job).step == 4
    assert ENGINE.finished(job)
    published = tmp_path / "published"
    assert json.loads((published / ".residency.json").read_text())["stage"] == job.folder.name
    assert (published / "adapter_model.safetensors").read_bytes() == (
        adapter / "adapter_model.safetensors"
    ).read_bytes()
    before = (adapter / "adapter_model.safetensors").stat().st_ino
    assert ENGINE.verify(job).outputs["adapter"] == adapter  # again changes nothing
    assert (adapter / "adapter_model.safetensors").stat().st_ino == before


def test_killed_goes_on_and_ends_like_one_that_was_not(
    make_job: Callable[..., Job], tiny_model: Path
) -> None:
    block = tiny_block(tiny_model, max_steps=6, save_steps=1, finetuning_type="full")
    whole = make_job(block, key="sft-whole")
    assert run(whole) == 0, log(whole)
    expected = ENGINE.verify(whole)

    job = make_job(block, key="sft-killed")
    training = job.folder / "training"
    with started(job) as process:
        end = time.monotonic() + 600
        while not (training / "checkpoint-2" / "trainer_state.json").is_file():
            assert process.poll() is None, log(job)
            assert time.monotonic() < end, log(job)
            time.sleep(0.01)
        os.killpg(process.pid, 9)
        process.wait()
    with pytest.raises(StageFailed, match="before the training did"):
        ENGINE.verify(job)
    half = training / "checkpoint-5"
    shutil.copytree(training / "checkpoint-2", half, dirs_exist_ok=True)
    optimizer = half / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:1000])
    resumed = ENGINE.resume(job)
    assert resumed is not None
    assert resumed.startswith("checkpoint-")
    assert resumed != "checkpoint-5"
    assert not half.exists()
    assert run(job) == 0, log(job)
    assert f"Resuming training from {training / resumed}" in (job.folder / "log.txt").read_text()
    done = ENGINE.verify(job)
    rows, wanted = list(ENGINE.metrics(job)), list(ENGINE.metrics(whole))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in wanted], rel=1e-5)
    assert done.metrics["train_loss"] == pytest.approx(expected.metrics["train_loss"], rel=1e-5)
    name = "model.safetensors"
    assert (done.outputs["model"] / name).read_bytes() == (expected.outputs["model"] / name).read_bytes()


@pytest.mark.parametrize("stage", ["dpo", "rm"])
def test_pairs(make_job: Callable[..., Job], tiny_model: Path, stage: str) -> None:
    job = make_job(tiny_block(tiny_model, stage=stage, max_steps=1), dataset="toy_pairs")
    assert run(job) == 0, log(job)
    done = ENGINE.verify(job)
    assert done.metrics["steps"] == 1
    assert (done.outputs["adapter"] / "adapter_config.json").is_file()


def test_exit_without_training_is_a_failure(make_job: Callable[..., Job], tiny_model: Path) -> None:
    job = make_job(tiny_block(tiny_model, do_train=False))
    assert run(job) == 0, log(job)
    with pytest.raises(StageFailed):
        ENGINE.verify(job)


def test_killed_after_the_last_step(make_job: Callable[..., Job], tiny_model: Path) -> None:
    """The last checkpoint is there, the result is not: the trainer would do a step too many from it."""
    job = make_job(tiny_block(tiny_model, max_steps=3, save_steps=1))
    assert run(job) == 0, log(job)
    training = job.folder / "training"
    weights = (training / "adapter_model.safetensors").read_bytes()
    for path in training.iterdir():
        if path.is_file() and path.name != "trainer_log.jsonl":
            path.unlink()
    assert ENGINE.resume(job) == "checkpoint-2"
    assert run(job) == 0, log(job)
    done = ENGINE.verify(job)
    assert done.metrics["steps"] == 3
    assert (done.outputs["adapter"] / "adapter_model.safetensors").read_bytes() == weights
    assert [row["step"] for row in ENGINE.metrics(job)] == [1, 2, 3]


@pytest.mark.long
def test_deepspeed_goes_on(make_job: Callable[..., Job], tiny_model: Path) -> None:
    """ZeRO-3 on the CPU, under torchrun: its checkpoints are of another kind."""
    pytest.importorskip("deepspeed")
    job = make_job(
        tiny_block(tiny_model, max_steps=2, save_steps=1, deepspeed="zero3", finetuning_type="full")
    )
    assert run(job) == 0, log(job)
    (job.folder / "training" / "trainer_state.json").unlink()
    assert ENGINE.resume(job) == "checkpoint-1"
    assert run(job) == 0, log(job)
    done = ENGINE.verify(job)
    assert done.metrics["steps"] == 2
    assert done.metrics["parameters_saved"] >= 100_000
