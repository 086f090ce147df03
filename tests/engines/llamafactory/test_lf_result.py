from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_case import make_checkpoint, tiny_block, write_tensors

from residency.engines.base import Job
from residency.engines.llamafactory.engine import ENGINE
from residency.errors import StageFailed

MODEL = Path("/models/some")
STATE = {
    "global_step": 4,
    "max_steps": 4,
    "epoch": 1.0,
    "log_history": [{"loss": 1.0, "grad_norm": 0.5, "step": 4}],
}


def finish(job: Job, **state: Any) -> Path:
    """Leave what a finished LoRA training leaves."""
    training = job.folder / "training"
    training.mkdir(parents=True)
    make_checkpoint(training, 4, total=4)
    write_tensors(training / "adapter_model.safetensors")
    (training / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(MODEL)}))
    (training / "tokenizer.json").write_text("{}")
    (training / "training_args.bin").write_bytes(b"pickle")
    (training / "all_results.json").write_text(json.dumps({"train_loss": 1.5, "eval_loss": 2.0}))
    (training / "trainer_state.json").write_text(json.dumps({**STATE, **state}))
    rows = [{"current_steps": s, "total_steps": 4, "loss": loss} for s, loss in ((1, 4.0), (4, 2.0))]
    (training / "trainer_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return training


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    return make_job(tiny_block(MODEL))


def test_the_result_alone(job: Job) -> None:
    training = finish(job)
    (job.folder / "cache").mkdir()
    done = ENGINE.verify(job)
    names = sorted(path.name for path in done.outputs["adapter"].iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]
    assert done.metrics["train_loss"] == pytest.approx((4.0 * 1 + 2.0 * 3) / 4)
    assert done.metrics["eval_loss"] == 2.0
    assert not (training / "checkpoint-4").exists()  # kept only to go on from
    assert not (job.folder / "cache").exists()


def test_checkpoints_that_were_asked_for_stay(make_job: Callable[..., Job]) -> None:
    job = make_job(tiny_block(MODEL, save_steps=4))
    training = finish(job)
    ENGINE.verify(job)
    assert (training / "checkpoint-4").is_dir()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"global_step": 3}, "ended at step 3 of 4"),
        ({"global_step": 0, "max_steps": 0}, "without a single training step"),
        ({"global_step": 2, "max_steps": 2}, "ended at step 2 of 4"),  # fewer than the recipe asks for
        ({"log_history": [{"loss": 0.0, "grad_norm": math.nan}]}, "gradient is not a number"),
        ({"log_history": [{"loss": math.inf}]}, "loss is not a number"),
        ({"log_history": [{"grad_norm": math.nan}] * 2}, "gradient was not a number from the first step on"),
    ],
)
def test_work_not_done(job: Job, state: dict[str, Any], message: str) -> None:
    finish(job, **state)
    with pytest.raises(StageFailed, match=message):
        ENGINE.verify(job)
    assert not ENGINE.finished(job)
    assert not job.outputs.exists()


def test_an_evaluation_without_a_figure_is_no_failure(job: Job) -> None:
    (finish(job) / "all_results.json").write_text('{"train_loss": 1.5, "eval_loss": NaN}')
    assert "cutoff_len may leave nothing" in ENGINE.verify(job).warnings[0]


def test_early_stopping_is_no_failure(make_job: Callable[..., Job]) -> None:
    job = make_job(tiny_block(MODEL, early_stopping_steps=2))
    finish(job, global_step=3)
    assert "stopped early at step 3 of 4" in ENGINE.verify(job).warnings[0]


@pytest.mark.parametrize(
    "name", ["adapter_model.safetensors", "tokenizer.json", "all_results.json", "trainer_state.json"]
)
def test_files_missing(job: Job, name: str) -> None:
    (finish(job) / name).unlink()
    with pytest.raises(StageFailed):
        ENGINE.verify(job)


def test_adapter_of_another_base(make_job: Callable[..., Job]) -> None:
    job = make_job(tiny_block(Path("/models/other")))
    finish(job)
    with pytest.raises(StageFailed, match=r"belongs to /models/some, not to /models/other"):
        ENGINE.verify(job)


def test_nothing_written(job: Job) -> None:
    with pytest.raises(StageFailed, match="without writing anything"):
        ENGINE.verify(job)


def test_finished_waits_for_the_evaluation(make_job: Callable[..., Job]) -> None:
    job = make_job(tiny_block(MODEL, do_eval=True, val_size=2))
    training = finish(job)
    assert not ENGINE.finished(job)
    (training / "eval_results.json").write_text("{}")
    assert ENGINE.finished(job)


def test_publishing(make_job: Callable[..., Job], tmp_path: Path) -> None:
    target = tmp_path / "saves" / "mine"
    job = make_job(tiny_block(MODEL, output_dir=str(target), save_steps=4))
    training = finish(job)
    assert ENGINE.verify(job).warnings == ()
    marker = json.loads((target / ".residency.json").read_text())
    assert (marker["recipe"], marker["stage"]) == ("toy", "sft-0123")
    assert "checkpoint-4/optimizer.pt" in marker["files"]
    assert (target / "checkpoint-4").is_dir()
    assert (target / "all_results.json").is_file()
    weights = target / "adapter_model.safetensors"
    assert not weights.samefile(training / weights.name)  # who edits it does not edit the store
    (target / "notes.txt").write_text("mine")
    (target / "all_results.json").unlink()
    assert ENGINE.reused(job) == ()
    assert (target / "all_results.json").is_file()
    again = make_job(tiny_block(MODEL, output_dir=str(target), save_steps=2), key="sft-4567")
    (finish(again) / "checkpoint-4").rename(again.folder / "training" / "checkpoint-2")
    weights.write_bytes(b"")
    assert ENGINE.verify(again).warnings == ()  # ours, so replaced
    assert weights.stat().st_size
    assert not (target / "checkpoint-4").exists()
    assert (target / "notes.txt").read_text() == "mine"
    # The first one again, reused: its result is what `output_dir` holds.
    assert ENGINE.reused(job) == ()
    assert (target / "checkpoint-4").is_dir()
    assert not (target / "checkpoint-2").exists()
    assert (target / "notes.txt").read_text() == "mine"


def test_publishing_never_replaces_what_is_not_ours(make_job: Callable[..., Job], tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.txt").write_text("years of work")
    job = make_job(tiny_block(MODEL, output_dir=str(target)))
    finish(job)
    assert "not ours" in ENGINE.verify(job).warnings[0]
    assert [path.name for path in target.iterdir()] == ["thesis.txt"]
    meant = make_job(tiny_block(MODEL, output_dir=str(target), overwrite_output_dir=True))
    assert ENGINE.verify(meant).warnings == ()
    assert (target / "thesis.txt").read_text() == "years of work"
    assert (target / "adapter_model.safetensors").is_file()
