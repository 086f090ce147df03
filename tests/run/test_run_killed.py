"""Launchers and engines that are killed, interrupted, or two at once: nothing lost, nothing left running."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
from fake_engine import make_plan
from run_case import PATIENCE, Heard, Launchers

from residency.run import claim, procs, rundir, state
from residency.run.runner import execute

STAGES = {"a": {"steps": 5}, "b": {"steps": 5, "children": True}, "c": {"steps": 5, "deaf": True}}


def expected(counts: list[int]) -> str:
    value = ""
    for count in counts:
        for step in range(1, count + 1):
            value = hashlib.sha256(f"{value} {step}".encode()).hexdigest()
    return value


def folders(runs: Path, stages: dict[str, dict]) -> list[Path]:
    return [stage.folder for stage in make_plan(runs, stages).stages]


def assert_whole(runs: Path) -> None:
    """Every file that is written by the launcher can be read, whenever it was killed."""
    for path in runs.rglob("*.json"):
        if not path.name.startswith("."):
            json.loads(path.read_text())
    for path in runs.rglob("metrics.jsonl"):
        text = path.read_text()
        assert text == "" or text.endswith("\n")
        steps = [json.loads(line)["step"] for line in text.splitlines()]
        assert steps == sorted(set(steps))


@pytest.mark.parametrize("seed", [1, 2])
def test_sigkill_of_the_launcher_at_any_moment(runs: Path, launchers: Launchers, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(7):
        process = launchers.start(STAGES)
        time.sleep(chance.uniform(0.1, 0.8))
        process.kill()
        process.wait()
        assert_whole(runs)
        done = [f for f in folders(runs, STAGES) if (s := state.load(f)) is not None and s.status == "done"]
        marks = {folder: (folder / "state.json").stat().st_mtime_ns for folder in done}
        if chance.random() < 0.5:
            assert launchers.none_left(), "the supervisor stops what a dead launcher started"
        for folder, mark in marks.items():
            assert (folder / "state.json").stat().st_mtime_ns == mark
    code, text = launchers.run(STAGES)
    assert code == 0, text
    assert launchers.none_left()
    a, b, c = folders(runs, STAGES)
    assert (c / "outputs/result.txt").read_text() == expected([5, 5, 5])
    assert_whole(runs)
    for folder in (a, b, c):
        found = state.load(folder)
        assert found is not None
        assert found.status == "done"
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == 5
        assert not list(folder.glob(".*.part"))
    code, text = launchers.run(STAGES)
    assert code == 0
    assert text.count("reused") == 3


def test_a_killed_launcher_takes_every_process_with_it(runs: Path, launchers: Launchers) -> None:
    process = launchers.start({"a": {"children": True, "steps": 100, "seconds": 0.1, "deaf": True}})
    launchers.wait_for(process, "progress a 1")
    # launcher, supervisor, worker, and the worker's three, of which two left its session
    assert len(launchers.left()) == 6
    process.kill()
    process.wait()
    assert launchers.none_left()


def test_a_killed_supervisor_takes_the_engine_with_it(runs: Path, launchers: Launchers) -> None:
    stages = {"a": {"steps": 100, "seconds": 0.1, "children": True}}
    process = launchers.start(stages)
    launchers.wait_for(process, "progress a 1")
    [supervisor] = [pid for pid in procs.descendants(process.pid) if b"supervise.py" in cmdline(pid)]
    os.kill(supervisor, signal.SIGKILL)
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 4
    assert "its supervisor was killed by signal 9" in text
    assert launchers.none_left()


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_launcher_and_supervisor_killed_the_next_launcher_ends_the_rest(
    runs: Path, launchers: Launchers, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = {"a": {"steps": 100, "seconds": 0.1, "children": True}}
    process = launchers.start(stages)
    launchers.wait_for(process, "progress a 1")
    [supervisor] = [pid for pid in procs.descendants(process.pid) if b"supervise.py" in cmdline(pid)]
    [folder] = folders(runs, stages)
    os.kill(process.pid, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    process.kill()
    process.wait()
    time.sleep(0.2)
    left = launchers.left()
    assert left, "the orphans outlive a supervisor that was killed"
    bystander = launchers.start({"other": {"steps": 3}})
    # One orphan still has the lock open: it is what the next launcher finds.
    holder = claim.read_holder(folder)
    assert holder is not None
    assert not holder.alive
    fd = os.open(folder / claim.FILE, os.O_RDWR)
    os.close(fd)
    claim._kill_remains(folder, holder)
    time.sleep(0.1)
    assert not set(left) & set(launchers.left())
    assert bystander.wait(PATIENCE) == 0, "nothing else is killed"


def test_a_held_lock_is_waited_for_then_its_processes_are_killed(runs: Path, launchers: Launchers) -> None:
    stages = {"a": {"steps": 100, "seconds": 0.1, "deaf": True}}
    # A grace so long that the old engine is still dying when we come.
    process = launchers.start(stages, RESIDENCY_GRACE="60")
    launchers.wait_for(process, "progress a 1")
    [folder] = folders(runs, stages)
    process.kill()
    process.wait()
    assert launchers.left()
    told: list[str] = []
    began = time.monotonic()
    with claim.take(folder, "a", patience=0.5, tell=told.append):
        assert time.monotonic() - began < 30
        assert launchers.none_left()
    assert len(told) == 1
    assert "earlier launcher" in told[0]


def test_two_launchers_at_once(runs: Path, launchers: Launchers) -> None:
    stages = {"a": {"steps": 30, "seconds": 0.1}}
    first = launchers.start(stages)
    launchers.wait_for(first, "progress a 1")
    code, text = launchers.run(stages)
    assert code == 4
    assert f"stage a is being run by process {first.pid} since 20" in text
    assert f"kill {first.pid}" in text
    assert first.wait(PATIENCE) == 0, "the first is not disturbed"
    code, text = launchers.run(stages)
    assert code == 0
    assert "stage a reused" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_interrupts(runs: Path, launchers: Launchers, number: signal.Signals) -> None:
    stages = {"a": {"steps": 2}, "b": {"steps": 100, "seconds": 0.1, "children": True}}
    process = launchers.start(stages)
    launchers.wait_for(process, "progress b 1")
    process.send_signal(number)
    text, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 5, text
    assert not launchers.left()
    _, b = folders(runs, stages)
    found = state.load(b)
    assert found is not None
    assert (found.status, found.pid) == ("interrupted", None)
    record = rundir.load((runs / "demo" / "latest").resolve())
    assert record is not None
    assert record.status == "interrupted"
    assert [stage.status for stage in record.stages] == ["done", "interrupted"]
    quick = {"a": {"steps": 2}, "b": stages["b"]}
    again = launchers.start(quick)
    said = launchers.wait_for(again, "progress b")
    assert "stage a reused" in said
    assert "goes on from step" in said
    again.send_signal(signal.SIGINT)
    assert again.wait(PATIENCE) == 5


def test_the_second_ctrl_c_kills_at_once(runs: Path, launchers: Launchers) -> None:
    process = launchers.start({"a": {"steps": 100, "seconds": 0.1, "deaf": True}}, RESIDENCY_GRACE="60")
    launchers.wait_for(process, "progress a 1")
    process.send_signal(signal.SIGINT)
    launchers.wait_for(process, "warning stopping")
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 5
    assert time.monotonic() - began < 30, "not after its grace of 60 s"
    assert not launchers.left()


def test_a_killed_run_is_shown_as_interrupted(runs: Path, launchers: Launchers) -> None:
    process = launchers.start({"a": {"steps": 100, "seconds": 0.1}})
    launchers.wait_for(process, "progress a 1")
    run_dir = (runs / "demo" / "latest").resolve()
    running = rundir.load(run_dir)
    assert running is not None
    assert running.status == "running"
    process.kill()
    process.wait()
    after = rundir.load(run_dir)
    assert after is not None
    assert after.status == "interrupted"
    assert after.stages[0].status == "interrupted"
    assert make_plan(runs, {"a": {"steps": 100, "seconds": 0.1}}).stages[0].action == "resume"
    assert launchers.none_left()


def test_what_an_engine_leaves_running_is_stopped(runs: Path, launchers: Launchers) -> None:
    began = time.monotonic()
    code, text = launchers.run({"a": {"steps": 1, "children": True}})
    assert code == 0, text
    assert not launchers.left()
    assert time.monotonic() - began < 10


def test_a_finished_stage_of_another_launcher_is_taken_over(runs: Path) -> None:
    """Planned by two, run by one: the other finds it done when its turn comes."""
    late = make_plan(runs, {"a": {"steps": 2}})
    execute(make_plan(runs, {"a": {"steps": 2}}), runs=runs, view=Heard(), command=[])
    assert late.stages[0].action == "run"
    heard = Heard()
    assert execute(late, runs=runs, view=heard, command=[]).status == "done"
    assert heard.stages[-1] == ("a", "reused")
    found = state.load(late.stages[0].folder)
    assert found is not None
    assert found.attempts == 1
