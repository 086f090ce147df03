"""A plan carried out: what is run, reused, gone on with, written, refused."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from fake_engine import AbsentEngine, make_plan
from run_case import Heard

from residency.errors import Missing, RecipeInvalid, ResidencyError, StageFailed
from residency.run import rundir, stagerun, state
from residency.run.executors.base import Exit
from residency.run.failures import explain
from residency.run.runner import RunResult, execute
from residency.run.state import State


def run(runs: Path, view: Heard, stages: dict[str, dict], **options: object) -> RunResult:
    plan = make_plan(runs, stages, **options)  # type: ignore[arg-type]
    return execute(plan, runs=runs, view=view, command=["launch.py", "demo.yaml"])


def expected(steps: list[int]) -> str:
    """The result of stages after each other, each counting its steps."""
    value = ""
    for count in steps:
        for step in range(1, count + 1):
            value = hashlib.sha256(f"{value} {step}".encode()).hexdigest()
    return value


def folder_of(result: RunResult, stage: str) -> Path:
    return (result.run_dir / "stages" / stage).resolve()


def state_of(result: RunResult, stage: str) -> State:
    found = state.load(folder_of(result, stage))
    assert found is not None
    return found


def test_stages_run_in_order_and_are_recorded(runs: Path, heard: Heard) -> None:
    result = run(runs, heard, {"a": {"steps": 3}, "b": {"steps": 2}})
    assert (result.status, result.exit_code, heard.ended) == ("done", 0, "done")
    assert (folder_of(result, "b") / "outputs/result.txt").read_text() == expected([3, 2])
    assert heard.stages == [
        ("a", "waiting"),
        ("b", "waiting"),
        ("a", "running"),
        ("a", "done"),
        ("b", "running"),
        ("b", "done"),
    ]
    found = state_of(result, "a")
    assert (found.status, found.attempts, found.exit, found.pid) == ("done", 1, 0, None)
    assert found.outputs == {"result": "outputs/result.txt"}
    assert found.files == {"outputs/result.txt": 64}
    assert found.metrics == {"steps": 3, "loss": 1 / 3}
    rows = [json.loads(line) for line in (folder_of(result, "a") / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    record = rundir.load(result.run_dir)
    assert record is not None
    assert [(s.name, s.status, s.reused) for s in record.stages] == [
        ("a", "done", False),
        ("b", "done", False),
    ]
    assert (runs / record.stages[0].folder).samefile(folder_of(result, "a"))
    assert not os.path.isabs(os.readlink(result.run_dir / "stages" / "a"))
    assert (runs / "demo" / "latest").resolve() == result.run_dir


def test_finished_stages_are_reused(runs: Path, heard: Heard) -> None:
    first = run(runs, heard, {"a": {"steps": 3}, "b": {"steps": 2}})
    before = (folder_of(first, "a") / "log.txt").read_bytes()
    second = run(runs, Heard(), {"a": {"steps": 3}, "b": {"steps": 2}})
    record = rundir.load(second.run_dir)
    assert record is not None
    assert [s.reused for s in record.stages] == [True, True]
    assert second.run_dir != first.run_dir
    assert (folder_of(second, "a") / "log.txt").read_bytes() == before
    third = run(runs, Heard(), {"a": {"steps": 3}, "b": {"steps": 4}})
    assert folder_of(third, "a") == folder_of(first, "a")
    assert folder_of(third, "b") != folder_of(first, "b")


def test_fresh_runs_anew_beside_what_was_made(runs: Path, heard: Heard) -> None:
    first = run(runs, heard, {"a": {"steps": 2}})
    second = run(runs, heard, {"a": {"steps": 2}}, fresh=True)
    assert folder_of(second, "a").name == folder_of(first, "a").name + ".2"
    assert (folder_of(first, "a") / "outputs/result.txt").is_file()
    third = run(runs, heard, {"a": {"steps": 2}})
    assert folder_of(third, "a") == folder_of(second, "a"), "the newest finished one is reused"


def test_a_crash_fails_the_run_and_the_next_one_goes_on(runs: Path, heard: Heard) -> None:
    stages = {"a": {"steps": 2}, "b": {"steps": 4, "crash_at": 3}}
    result = run(runs, heard, stages)
    assert (result.status, result.exit_code) == ("failed", 4)
    assert result.error is not None
    assert result.error.message == "stage b failed with exit status 3: ValueError: the loss is nan"
    assert str(folder_of(result, "b") / "log.txt") in (result.error.hint or "")
    assert "step 2" in (result.error.hint or ""), "the last lines of the log are shown"
    (said,) = [text for style, text in heard.messages if style == "error"]
    assert said.splitlines()[0] == result.error.message
    assert [line.strip() for line in said.splitlines()[1:]] == [
        line.strip() for line in (result.error.hint or "").splitlines()
    ]
    assert state_of(result, "b").status == "failed"
    assert (state_of(result, "b").error or {})["message"] == result.error.message
    again = run(runs, heard, stages)
    assert again.status == "done"
    found = state_of(again, "b")
    assert (found.attempts, found.resumed_from, found.error) == (2, "step 2", None)
    assert (folder_of(again, "b") / "outputs/result.txt").read_text() == expected([2, 4])
    log = (folder_of(again, "b") / "log.txt").read_text()
    assert log.count("=== attempt") == 2
    assert "=== attempt 2, " in log
    assert "going on from step 2 ===" in log


def test_steps_done_twice_are_logged_once(runs: Path, heard: Heard) -> None:
    result = run(runs, heard, {"a": {"steps": 4, "crash_at": 3}})
    folder = folder_of(result, "a")
    # The checkpoint of step 2 is lost: step 2 is done again, and logged again.
    (folder / "checkpoint.json").write_text(json.dumps({"step": 1, "value": expected([1])}))
    again = run(runs, heard, {"a": {"steps": 4, "crash_at": 3}})
    assert again.status == "done"
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert (folder / "outputs/result.txt").read_text() == expected([4])


def test_work_that_was_done_before_its_verification_is_taken_over(runs: Path, heard: Heard) -> None:
    """Killed between the engine's last step and the launcher's look at it."""
    result = run(runs, heard, {"a": {"steps": 3}})
    folder = folder_of(result, "a")
    found = state_of(result, "a")
    found.status, found.outputs, found.files, found.metrics = "running", {}, {}, {}
    found.save(folder)
    log = (folder / "log.txt").read_text()
    view = Heard()
    again = run(runs, view, {"a": {"steps": 3}, "b": {"steps": 1}})
    assert again.status == "done"
    assert view.stages[-4:] == [("a", "running"), ("a", "done"), ("b", "running"), ("b", "done")]
    assert (folder / "log.txt").read_text().count("step") == log.count("step") + 1, "nothing is done twice"
    assert state_of(again, "a").metrics["steps"] == 3


def test_exit_0_without_the_work_is_a_failure(runs: Path, heard: Heard) -> None:
    result = run(runs, heard, {"a": {"lazy": True}})
    assert result.exit_code == 4
    assert result.error is not None
    assert "did not count to its last step" in result.error.message
    assert state_of(result, "a").status == "failed"


def test_an_engine_killed_by_the_system(runs: Path, heard: Heard) -> None:
    stages = {"a": {"steps": 4, "die_at": 3}}
    result = run(runs, heard, stages)
    assert result.exit_code == 4
    assert result.error is not None
    assert "was ended by signal 9 (SIGKILL)" in result.error.message
    assert "memory" in (result.error.hint or "")
    assert state_of(result, "a").exit == -9
    again = run(runs, heard, stages)
    assert (folder_of(again, "a") / "outputs/result.txt").read_text() == expected([4])
    assert state_of(again, "a").resumed_from == "step 2"


def test_a_stalled_engine_is_stopped(runs: Path, heard: Heard) -> None:
    result = run(runs, heard, {"a": {"steps": 4, "hang_at": 3, "stall": 0.6}})
    assert result.exit_code == 4
    assert result.error is not None
    assert "stalled: it printed nothing and made no step for 0.6 s" in result.error.message
    assert result.seconds < 8


def test_a_slow_engine_that_prints_is_not_stalled(runs: Path, heard: Heard) -> None:
    assert run(runs, heard, {"a": {"steps": 5, "seconds": 0.4, "stall": 1.2}}).status == "done"


def test_a_command_that_is_not_there(runs: Path, heard: Heard) -> None:
    plan = make_plan(runs, {"a": {}})
    object.__setattr__(plan.stages[0].launch, "argv", ("/no/such/program", "x"))
    result = execute(plan, runs=runs, view=heard, command=[])
    assert result.exit_code == 4
    assert result.error is not None
    assert "/no/such/program: No such file or directory" in result.error.message


def test_a_missing_engine_stops_before_anything_is_written(runs: Path, heard: Heard) -> None:
    with pytest.raises(Missing, match=r"absent is not installed, which the stages a and b need") as caught:
        run(runs, heard, {"a": {}, "b": {}}, engine=AbsentEngine())
    assert caught.value.hint == "make install-absent"
    assert not runs.exists()


def test_too_few_gpus(runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(Missing, match="this machine has no GPUs: a wants 2"):
        run(runs, heard, {"a": {}}, gpus=2)


def test_dry_run_writes_the_files_and_starts_nothing(runs: Path, heard: Heard) -> None:
    run(runs, heard, {"a": {"steps": 1}})
    plan = make_plan(runs, {"a": {"steps": 1}, "b": {"steps": 2}})
    result = execute(plan, runs=runs, view=Heard(), command=[], dry_run=True)
    assert result.run_dir.name.endswith("-dry-run")
    folder = result.run_dir / "stages" / "b"
    assert sorted(p.name for p in folder.iterdir()) == ["command.txt", "job.json", "outputs", "stage.yaml"]
    assert yaml.safe_load((folder / "stage.yaml").read_text())["steps"] == 2
    assert (result.run_dir / "stages" / "a").resolve() == plan.stages[0].folder
    assert not plan.stages[1].folder.exists()
    latest = (runs / "demo" / "latest").resolve()
    assert latest != result.run_dir
    # What a run then writes is the same.
    done = run(runs, heard, {"a": {"steps": 1}, "b": {"steps": 2}})
    for name in ("command.txt", "job.json", "stage.yaml"):
        assert (folder_of(done, "b") / name).read_text() == (folder / name).read_text()


def test_command_txt_repeats_the_stage(runs: Path, heard: Heard) -> None:
    result = run(runs, heard, {"a": {"steps": 2, "print_env": ["FAKE", "MINE"], "env": {"MINE": "x 'y'"}}})
    folder = folder_of(result, "a")
    (folder / "outputs/result.txt").unlink()
    (folder / "checkpoint.json").unlink()
    done = subprocess.run(["sh", "command.txt"], cwd=folder, capture_output=True, text=True, check=True)
    assert "FAKE is a b\nMINE is x 'y'\n" in done.stdout
    assert (folder / "outputs/result.txt").read_text() == expected([2])


def test_the_environment_of_a_stage(runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_MIRROR", "/mirror")
    names = ["OMP_NUM_THREADS", "OMP_WAIT_POLICY", "HF_HUB_OFFLINE", "CUDA_VISIBLE_DEVICES", "PYTHONPATH"]
    run(runs, heard, {"a": {"steps": 1, "print_env": names}})
    said = dict(line.split(" is ") for line in heard.lines if " is " in line)
    assert said["OMP_NUM_THREADS"] == "1"
    assert said["OMP_WAIT_POLICY"] == "PASSIVE"
    assert said["HF_HUB_OFFLINE"] == "1"
    assert said["CUDA_VISIBLE_DEVICES"] == ""
    assert said["PYTHONPATH"].split(os.pathsep)[0] == str(Path(__file__).resolve().parents[2])


def test_a_file_outside_the_stage_is_refused(runs: Path, heard: Heard) -> None:
    plan = make_plan(runs, {"a": {}})
    object.__setattr__(plan.stages[0].launch, "files", {"../x": "y"})
    with pytest.raises(ValueError, match="outside the stage's folder"):
        execute(plan, runs=runs, view=heard, command=[])
    assert heard.ended == "failed"


def test_a_folder_that_cannot_be_written(runs: Path, heard: Heard) -> None:
    runs.parent.mkdir(exist_ok=True)
    runs.write_text("a file where the folder should be")
    with pytest.raises(Exception, match="cannot be recorded"):
        run(runs, heard, {"a": {}})


def test_a_full_disk_is_told_as_such(runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, rows: object) -> int:
        raise OSError(28, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr("residency.run.metrics.MetricsFile.update", full)
    result = run(runs, heard, {"a": {"steps": 3}})
    assert result.exit_code == 4
    assert result.error is not None
    assert "the disk is full" in result.error.message
    assert "goes on where it stopped" in (result.error.hint or "")
    monkeypatch.undo()
    assert run(runs, heard, {"a": {"steps": 3}}).status == "done"


def test_a_fault_in_reading_progress_does_not_end_the_stage(
    runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object, job: object) -> None:
        raise KeyError("loss")

    monkeypatch.setattr("fake_engine.FakeEngine.progress", broken)
    assert run(runs, heard, {"a": {"steps": 3, "seconds": 0.5}}).status == "done"
    told = [text for style, text in heard.messages if style == "warning"]
    assert told == ["the progress of stage a cannot be read: KeyError: 'loss'"]


def test_a_secret_value_in_the_recipe_is_refused(
    runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "f00dfeedf00dfeed1234")
    with pytest.raises(RecipeInvalid, match="the value of WANDB_API_KEY stands in its recipe") as caught:
        run(runs, heard, {"a": {"env": {"X": "f00dfeedf00dfeed1234"}}})
    assert "f00dfeed" not in f"{caught.value.message}{caught.value.hint}"
    assert not runs.exists()


def test_what_reusing_a_stage_brings_up_is_said(runs: Path, heard: Heard) -> None:
    stages = {"a": {"steps": 1, "warns": True}, "b": {"steps": 1, "unwritable": True}}
    run(runs, Heard(), stages)
    again = run(runs, heard, stages)
    assert again.status == "done"
    said = [text for style, text in heard.messages if style == "warning"]
    assert said == ["stage a: its folder elsewhere was in use", "stage b: PermissionError: no"]


def test_a_figure_that_is_no_number_is_said_once_while_it_runs(runs: Path, heard: Heard) -> None:
    run(runs, heard, {"a": {"steps": 4, "seconds": 0.5, "spoilt": True}})
    said = [text for style, text in heard.messages if style == "warning"]
    assert len(said) == 1
    assert said[0].startswith("stage a: loss is not a number at step ")


@pytest.mark.parametrize(
    ("code", "kind"),
    [(2, RecipeInvalid), (3, Missing), (4, StageFailed)],
    ids=["recipe", "missing", "failed"],
)
def test_what_a_command_of_ours_says_is_said_once(code: int, kind: type[ResidencyError]) -> None:
    stage: Any = SimpleNamespace(
        name="data",
        job=None,
        engine=SimpleNamespace(
            exits_as_launcher=True, explain_failure=lambda job, text: ("no such file", "fetch it")
        ),
    )
    error = explain(stage, Exit(code=code), None, Path("/x/log.txt"), "began\nerror: no such file\n")
    assert type(error) is kind
    assert error.exit_code == code
    assert (error.message, error.hint) == ("stage data: no such file", "fetch it\nits log: /x/log.txt")
    crashed = explain(stage, Exit(code=code), None, Path("/x/log.txt"), "Traceback\nKeyError: 1\n")
    assert type(crashed) is StageFailed
    assert "KeyError: 1" in (crashed.hint or "")


def test_a_full_disk_is_told_as_one() -> None:
    stage: Any = SimpleNamespace(
        name="sft",
        job=None,
        engine=SimpleNamespace(exits_as_launcher=False, explain_failure=lambda job, text: ("OSError", None)),
    )
    text = "OSError: [Errno 28] No space left on device\n"
    error = explain(stage, Exit(code=1), None, Path("/x/log.txt"), text)
    assert error.message == "stage sft failed with exit status 1: the disk is full"
    assert "free some space" in (error.hint or "")


def test_a_notice_of_the_first_step_is_said_once_and_kept(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stagerun, "PROGRESS_SECONDS", 0.02)
    view = Heard()
    stages = {"a": {"steps": 10, "seconds": 0.05, "cuts": True}, "b": {"steps": 1}}
    result = execute(make_plan(runs, stages), runs=runs, view=view, command=["x"])
    assert result.status == "done"
    warnings = [text for style, text in view.messages if style == "warning"]
    assert warnings == ["stage a: 2 of 9 rows were cut"]
    found = state.load(make_plan(runs, stages).stages[0].folder)
    assert found is not None
    assert found.warnings == ["2 of 9 rows were cut"]
