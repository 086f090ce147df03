"""A run that was cut off shows what it saw, not what a later run has made of its stages."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from fake_engine import make_plan
from run_case import Heard, Launchers

from residency.cli import show
from residency.engines.base import Progress
from residency.report.collect import collect
from residency.report.html import page
from residency.run import history, rundir, seen
from residency.run.runner import execute
from residency.run.state import State

SLOW = {"a": {"steps": 40, "seconds": 0.1}, "b": {"steps": 2}}


def shown(runs: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("RESIDENCY_RUNS", str(runs))
    assert show.run(argparse.Namespace(run=name, format="text")) == 0
    return capsys.readouterr().out


def test_a_killed_run_after_another_has_finished_its_stage(
    runs: Path, launchers: Launchers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    process = launchers.start(SLOW)
    launchers.wait_for(process, "progress a 8")
    process.kill()
    process.wait()
    (first,) = [folder for folder, _ in rundir.all_runs(runs)]
    before = shown(runs, first.name, monkeypatch, capsys)
    assert "since" not in before
    assert launchers.run(SLOW)[0] == 0
    second = next(folder for folder, _ in rundir.all_runs(runs) if folder != first)
    said = f"finished later by {rundir.identity(second)}"

    record = collect(first)
    a, b = record.stages
    assert (record.status, a.status, b.status) == ("interrupted", "interrupted", "waiting")
    assert a.since == said
    assert (a.attempts, a.figures, a.outputs) == (1, {}, {})
    steps = [row["step"] for row in a.curve]
    assert 5 <= steps[-1] <= 20, "where the kill came, not the 40 steps that it has by now"
    assert "attempt 1," in a.log_tail
    assert "attempt 2," not in a.log_tail
    assert said in page(record)

    past = history.load(first)
    state = past.state(past.record.stages[0])
    assert state is not None
    assert (state.status, state.attempts) == ("interrupted", 1)
    text = shown(runs, first.name, monkeypatch, capsys)
    assert said in text
    assert f"step {past.record.stages[0].saw['step']} of 40" in text  # type: ignore[index]
    assert "outputs/result.txt" not in text

    whole = collect(second)
    assert [stage.status for stage in whole.stages] == ["done", "done"]
    assert [stage.since for stage in whole.stages] == ["", ""]
    assert len(whole.stages[0].curve) == 40
    assert rundir.find(runs, rundir.identity(second)) == second


def test_a_failed_run_keeps_its_error_after_another_has_failed_otherwise(runs: Path) -> None:
    first = execute(
        make_plan(runs, {"a": {"steps": 4, "crash_at": 2}}), runs=runs, view=Heard(), command=["x"]
    )
    folder = make_plan(runs, {"a": {"steps": 4, "crash_at": 2}}).stages[0].folder
    before = collect(first.run_dir).stages[0]
    second = execute(
        make_plan(runs, {"a": {"steps": 4, "crash_at": 2}}), runs=runs, view=Heard(), command=["x"]
    )
    state = json.loads((folder / "state.json").read_text())
    state["status"], state["error"] = "failed", {"message": "another error", "hint": None}
    (folder / "state.json").write_text(json.dumps(state))
    after = collect(first.run_dir).stages[0]
    assert (after.error, after.seconds, after.attempts) == (before.error, before.seconds, 1)
    assert after.since == f"failed later by {rundir.identity(second.run_dir)}"


def test_the_last_word_is_the_run_that_made_the_last_attempt() -> None:
    state = State("running", "a", "fake", "key", "print", run="demo/1", attempts=1)
    saw = seen.snapshot(state, Progress(step=3, total=9))
    assert (saw["step"], saw["total"]) == (3, 9)
    same = {"status": "done", "run": "demo/1"}
    assert seen.as_seen(saw, same, "demo/1") == (same, ""), "run.json may be older than state.json"
    assert seen.as_seen(None, {"status": "done", "run": "demo/2"}, "demo/1")[1] == "", "found finished"
    assert seen.as_seen(saw, {"status": "done"}, "demo/1")[1] == "", "of before runs had names"
    found, since = seen.as_seen(saw, {"status": "running", "run": "demo/2", "attempts": 2}, "demo/1")
    assert (found["status"], found["attempts"], since) == ("interrupted", 1, "gone on with by demo/2")
