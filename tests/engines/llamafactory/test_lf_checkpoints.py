from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from training_case import make_checkpoint, tiny_block

from residency.engines.base import Job
from residency.engines.llamafactory import checkpoints
from residency.engines.llamafactory.engine import ENGINE
from residency.errors import StageFailed

MODEL = Path("/models/some")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def test_whole(tmp_path: Path) -> None:
    found = checkpoints.look(make_checkpoint(tmp_path, 4))
    assert (found.step, found.total) == (4, 10)


PARTS = ["adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"]


@pytest.mark.parametrize("part", PARTS)
def test_cut_off(tmp_path: Path, part: str) -> None:
    folder = make_checkpoint(tmp_path, 4)
    cut(folder / part)
    with pytest.raises(StageFailed):
        checkpoints.look(folder)


@pytest.mark.parametrize("part", PARTS)
def test_missing(tmp_path: Path, part: str) -> None:
    folder = make_checkpoint(tmp_path, 4)
    (folder / part).unlink()
    with pytest.raises(StageFailed):
        checkpoints.look(folder)


def test_deepspeed_parts(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path, 4)
    (folder / "optimizer.pt").unlink()
    (folder / "scheduler.pt").unlink()
    (folder / "latest").write_text("global_step4")
    with pytest.raises(StageFailed, match="no optimizer state"):
        checkpoints.look(folder)
    (folder / "global_step4").mkdir()
    part = folder / "global_step4" / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"
    with zipfile.ZipFile(part, "w") as archive:
        archive.writestr("data.pkl", b"x" * 100)
    assert checkpoints.look(folder).step == 4
    cut(part)
    with pytest.raises(StageFailed, match="cut off"):
        checkpoints.look(folder)


def test_the_last_whole_one_is_left_last(tmp_path: Path) -> None:
    for step in (2, 4, 10, 6):
        make_checkpoint(tmp_path / "t", step, total=20)
    cut(tmp_path / "t" / "checkpoint-10" / "optimizer.pt")
    last, said = checkpoints.tidy(tmp_path / "t", tmp_path / "aside")
    assert last is not None
    assert last.step == 6
    assert said[0].startswith("checkpoint-10 is not whole")
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == [
        "checkpoint-2",
        "checkpoint-4",
        "checkpoint-6",
    ]
    assert (tmp_path / "aside" / "checkpoint-10").is_dir()


def test_the_last_step_is_done_again(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 5)
    make_checkpoint(tmp_path, 10)
    last, _ = checkpoints.tidy(tmp_path, tmp_path / "aside")
    assert last is not None
    assert last.step == 5


def test_resume(make_job: Callable[..., Job]) -> None:
    job = make_job(tiny_block(MODEL))
    training = job.folder / "training"
    make_checkpoint(training, 2)
    rows = [
        {"current_steps": i, "total_steps": 10, "loss": 1.0 / i, "elapsed_time": f"0:00:0{i}"}
        for i in (1, 2, 3)
    ]
    (training / "trainer_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for _ in range(2):  # asked again, nothing changes
        assert ENGINE.resume(job) == "checkpoint-2"
        assert [row["step"] for row in ENGINE.metrics(job)] == [1, 2]
    rows = [{"current_steps": 3, "total_steps": 10, "loss": 0.1, "elapsed_time": "0:00:05"}]
    (training / "trainer_log.jsonl").write_text(json.dumps(rows[0]) + "\n")
    made = list(ENGINE.metrics(job))
    assert [(row["step"], row["seconds"]) for row in made] == [(1, 1.0), (2, 2.0), (3, 7.0)]
    assert made[2]["loss"] == 0.1


@pytest.mark.parametrize("given", [{"save_only_model": True}, {"stage": "rm"}])
def test_where_it_cannot_go_on_it_starts_from_nothing(
    make_job: Callable[..., Job], given: dict[str, object]
) -> None:
    job = make_job(tiny_block(MODEL, **given))
    make_checkpoint(job.folder / "training", 2)
    assert ENGINE.resume(job) is None
    assert not (job.folder / "training").exists()


def test_only_broken_checkpoints_means_from_nothing(make_job: Callable[..., Job]) -> None:
    job = make_job(tiny_block(MODEL))
    cut(make_checkpoint(job.folder / "training", 2) / "optimizer.pt")
    assert ENGINE.resume(job) is None
    assert not (job.folder / "training").exists()


def test_a_checkpoint_from_elsewhere(make_job: Callable[..., Job], tmp_path: Path) -> None:
    source = make_checkpoint(tmp_path / "other", 7, total=20)
    job = make_job(tiny_block(MODEL, resume_from_checkpoint=str(source)))
    assert ENGINE.resume(job) == "checkpoint-7"
    assert (job.folder / "training" / "checkpoint-7" / "optimizer.pt").is_file()
    assert source.is_dir()
    make_checkpoint(job.folder / "training", 9, total=20)  # what the stage itself did since counts more
    assert ENGINE.resume(job) == "checkpoint-9"
