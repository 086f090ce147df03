"""Services: started once and late, waited for, started again, stopped with the run, and no others."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_engine import make_plan
from fake_service import COMMAND, with_services
from run_case import Heard, Launchers

from residency.errors import EXIT_FAILED, EXIT_MISSING, Missing
from residency.plan.model import Plan
from residency.run import procs, rundir, servicerun
from residency.run.runner import RunResult, execute

R = ("r",)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicerun, "BACKOFF", 0.05)
    monkeypatch.setenv("RESIDENCY_GRACE", "2")


def plan_of(
    runs: Path,
    stages: dict[str, Any],
    services: dict[str, dict[str, Any]],
    used: dict[str, tuple[str, ...]],
) -> Plan:
    return with_services(make_plan(runs, stages), services, used)


def go(plan: Plan, runs: Path, heard: Heard, **more: Any) -> RunResult:
    return execute(plan, runs=runs, view=heard, command=["launch.py"], **more)


def said(plan: Plan, stage: str) -> list[dict[str, Any]]:
    """What a stage's services answered it."""
    text = (plan.stage(stage).folder / "log.txt").read_text()
    return [json.loads(found) for found in re.findall(r" said (\{.*\})", text)]


def test_one_service_for_several_stages(runs: Path, heard: Heard) -> None:
    plan = plan_of(runs, {"a": {}, "b": {}, "c": {}, "d": {}}, {"r": {}}, {"b": R, "c": R})
    result = go(plan, runs, heard)
    assert result.exit_code == 0
    (first,), (second,) = said(plan, "b"), said(plan, "c")
    assert first["pid"] == second["pid"]
    assert not procs.started(first["pid"])
    assert [status for _, status in heard.services] == ["starting", "ready", "stopping", "stopped"]
    record = rundir.load(result.run_dir)
    assert record is not None
    (service,) = record.services
    assert (service.name, service.status, service.used_by) == ("r", "stopped", ["b", "c"])
    assert service.restarts == 0
    log = (result.run_dir / service.folder / "log.txt").read_text()
    assert "nothing to say" in log
    assert (result.run_dir / service.folder / "command.txt").is_file()


class Ordered(Heard):
    """Puts what it hears of stages and services into one list."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []

    def stage(self, name: str, status: str, note: str = "") -> None:
        self.order.append(f"{name} {status}")

    def service(self, name: str, status: str, note: str = "") -> None:
        self.order.append(f"{name} {status}")


def test_it_starts_late_and_stops_early(runs: Path) -> None:
    heard = Ordered()
    assert go(plan_of(runs, {"a": {}, "b": {}, "c": {}}, {"r": {}}, {"b": R}), runs, heard).exit_code == 0
    order = [entry for entry in heard.order if not entry.endswith("waiting")]
    assert (
        order.index("a done") < order.index("r starting") < order.index("r ready") < order.index("b running")
    )
    assert order.index("b done") < order.index("r stopping") < order.index("c done")


def test_what_nobody_needs_is_not_started(runs: Path, heard: Heard) -> None:
    stages, services, used = {"a": {}, "b": {}}, {"r": {}, "idle": {}}, {"b": R}
    assert go(plan_of(runs, stages, services, used), runs, heard).exit_code == 0
    assert {name for name, _ in heard.services} == {"r"}
    again = Heard()
    result = go(plan_of(runs, stages, services, used), runs, again)
    assert result.exit_code == 0
    assert again.services == []
    assert not (result.run_dir / "services").exists()


def test_a_service_that_uses_another(runs: Path, heard: Heard) -> None:
    services = {"base": {}, "top": {"upstream": "⟦services.base.url⟧"}}
    plan = plan_of(runs, {"a": {}}, services, {"a": ("base", "top")})
    assert go(plan, runs, heard).exit_code == 0
    base, top = said(plan, "a")
    assert base["pid"] != top["pid"]
    assert top["upstream"].startswith("http://127.0.0.1:")
    names = [entry for entry in heard.services if entry[1] in ("ready", "stopping")]
    assert names == [("base", "ready"), ("top", "ready"), ("top", "stopping"), ("base", "stopping")]


def test_it_is_waited_for(runs: Path, heard: Heard) -> None:
    plan = plan_of(runs, {"a": {}}, {"r": {"slow": 1.0}}, {"a": R})
    began = time.monotonic()
    assert go(plan, runs, heard).exit_code == 0
    assert time.monotonic() - began > 1.0


def test_one_that_is_never_well(runs: Path, heard: Heard) -> None:
    plan = plan_of(runs, {"a": {}}, {"r": {"ill": True, "health_seconds": 1.0}}, {"a": R})
    result = go(plan, runs, heard)
    assert result.exit_code == EXIT_FAILED
    assert result.error is not None
    assert "the service r was not well within 1 s: it answered 503" in result.error.message
    assert "services/r/log.txt" in (result.error.hint or "")
    assert ("a", "failed") in heard.stages
    assert ("a", "running") not in heard.stages


def test_one_that_says_why_it_cannot_start_is_not_tried_again(runs: Path, heard: Heard) -> None:
    result = go(plan_of(runs, {"a": {}}, {"r": {"missing": True}}, {"a": R}), runs, heard)
    assert result.exit_code == EXIT_MISSING
    assert result.error is not None
    assert "the service r cannot start" in result.error.message
    assert (result.run_dir / "services/r/tries").read_text() == "1"


def test_one_that_crashes_at_its_start_is_tried_again(runs: Path, heard: Heard) -> None:
    plan = plan_of(runs, {"a": {}}, {"r": {"crashes": 2}}, {"a": R})
    result = go(plan, runs, heard)
    assert result.exit_code == 0
    assert said(plan, "a")[0]["tries"] == 3
    record = rundir.load(result.run_dir)
    assert record is not None
    assert record.services[0].restarts == 2


@pytest.mark.parametrize("restarts", [0, 2])
def test_one_that_always_crashes(runs: Path, heard: Heard, restarts: int) -> None:
    services = {"r": {"crashes": 99, "restarts": restarts}}
    result = go(plan_of(runs, {"a": {}}, services, {"a": R}), runs, heard)
    assert result.exit_code == EXIT_FAILED
    assert result.error is not None
    assert "it crashes at its start" in result.error.message
    assert (result.run_dir / "services/r/tries").read_text() == str(restarts + 1)


def test_one_that_dies_comes_back_at_the_same_address(runs: Path, heard: Heard) -> None:
    plan = plan_of(runs, {"a": {"kill_service_at": 2, "seconds": 0.2}}, {"r": {}}, {"a": R})
    result = go(plan, runs, heard)
    assert result.exit_code == 0, result.error
    before, after = said(plan, "a")
    assert before["pid"] != after["pid"]
    text = (plan.stage("a").folder / "log.txt").read_text()
    assert len(set(re.findall(r"http://\S+ said", text))) == 1
    assert ("r", "restarting") in heard.services


def test_one_that_dies_for_good_fails_the_stage_that_uses_it(runs: Path, heard: Heard) -> None:
    stages = {"a": {"kill_service_at": 2, "steps": 100, "seconds": 0.1}}
    result = go(plan_of(runs, stages, {"r": {"restarts": 0}}, {"a": R}), runs, heard)
    assert result.exit_code == EXIT_FAILED
    assert result.error is not None
    assert re.match(r"stage a: the service r was killed by signal 9", result.error.message)
    assert "services/r/log.txt" in (result.error.hint or "")
    assert heard.stages[-1] == ("a", "failed")


WATCHED = {"health_every": 0.1, "hung_seconds": 0.8}


@pytest.mark.parametrize(("how", "why"), [("hangs", "it did not answer"), ("sickens", "it answered 503")])
def test_one_that_hangs_is_killed_and_comes_back(runs: Path, heard: Heard, how: str, why: str) -> None:
    stages = {"a": {"steps": 12, "seconds": 0.3}}
    plan = plan_of(runs, stages, {"r": {how: 1, "children": True, **WATCHED}}, {"a": R})
    notes: list[str] = []
    heard.service = lambda name, status, note="": notes.append(f"{status} {note}")  # type: ignore[method-assign]
    result = go(plan, runs, heard)
    assert result.exit_code == 0, result.error
    assert (result.run_dir / "services/r/tries").read_text() == "2"
    note, _ = [note for note in notes if note.startswith("restarting")]  # that it died; that it starts
    assert "was not well for 0.8 s" in note
    assert why in note
    assert "restart 1 of 3" in note
    record = rundir.load(result.run_dir)
    assert record is not None
    assert record.services[0].restarts == 1


def test_one_that_always_hangs(runs: Path, heard: Heard) -> None:
    stages = {"a": {"steps": 100, "seconds": 0.1}}
    result = go(plan_of(runs, stages, {"r": {"hangs": 9, "restarts": 1, **WATCHED}}, {"a": R}), runs, heard)
    assert result.exit_code == EXIT_FAILED
    assert result.error is not None
    assert re.match(
        r"stage a: the service r was not well for 0.8 s \(.*\) and was killed and was started again 1 times",
        result.error.message,
    )


@pytest.mark.parametrize("more", [{"blocked": 0.7, "hung_seconds": 2}, {"hangs": 1, "hung_seconds": 0}])
def test_one_that_is_busy_or_not_watched_is_left_alone(
    runs: Path, heard: Heard, more: dict[str, Any]
) -> None:
    plan = plan_of(runs, {"a": {"steps": 8, "seconds": 0.3}}, {"r": {**WATCHED, **more}}, {"a": R})
    result = go(plan, runs, heard)
    assert result.exit_code == 0, result.error
    assert ("r", "restarting") not in heard.services


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server that is none of ours."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "service.json").write_text("{}")
    env = {**os.environ, "RESIDENCY_PORT": "0"}
    process = subprocess.Popen([sys.executable, str(COMMAND)], cwd=folder, env=env, stdout=subprocess.DEVNULL)
    while not (folder / "address.json").is_file():
        time.sleep(0.02)
    yield process, json.loads((folder / "address.json").read_text())["url"]
    process.kill()
    process.wait()


def test_one_that_runs_already_is_used_and_left_alone(
    runs: Path, heard: Heard, outside: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, url = outside
    plan = plan_of(runs, {"a": {}}, {"r": {"url": url}}, {"a": R})
    assert go(plan, runs, heard).exit_code == 0
    assert said(plan, "a")[0]["pid"] == process.pid
    assert process.poll() is None
    assert ("r", "ready") in heard.services


def test_one_that_should_run_already_and_does_not(runs: Path, heard: Heard) -> None:
    services = {"r": {"url": "http://127.0.0.1:9", "health_seconds": 0.5}}
    plan = plan_of(runs, {"first": {}, "a": {}}, services, {"a": R})
    with pytest.raises(Missing, match=r"the service r at http://127.0.0.1:9 does not answer") as raised:
        go(plan, runs, heard)
    assert raised.value.exit_code == EXIT_MISSING
    assert "http://127.0.0.1:9/health" in (raised.value.hint or "")
    assert heard.stages == []
    assert not runs.exists()


def test_gpus_of_a_stage_and_its_services_are_wanted_together(
    runs: Path, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    from residency.run.executors import local

    monkeypatch.setattr(local, "gpus", lambda: ("0",))
    plan = with_services(make_plan(runs, {"a": {}}, gpus=1), {"r": {}}, {"a": R})
    plan.services[0].job = replace(plan.services[0].job, gpus=1)
    with pytest.raises(Missing, match="a with its services wants 2"):
        go(plan, runs, heard)
    assert not runs.exists()


def test_dry_run_starts_nothing(runs: Path, heard: Heard) -> None:
    result = go(plan_of(runs, {"a": {}}, {"r": {}}, {"a": R}), runs, heard, dry_run=True)
    assert (result.run_dir / "services/r/command.txt").is_file()
    assert not (result.run_dir / "services/r/log.txt").exists()
    assert heard.services == []
    assert "service r would run by" in " ".join(text for _, text in heard.messages)


CHILDREN = {"r": {"children": True}}


@pytest.mark.parametrize("deaf", [False, True])
def test_ctrl_c_ends_services_too(launchers: Launchers, deaf: bool) -> None:
    process = launchers.start(
        {"a": {"steps": 100, "seconds": 0.1}}, {"r": {"children": True, "deaf": deaf}}, RESIDENCY_GRACE="1"
    )
    launchers.wait_for(process, "progress a 2")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 5
    assert launchers.none_left()


def test_ctrl_c_while_a_service_is_starting(launchers: Launchers) -> None:
    process = launchers.start({"a": {}}, {"r": {"children": True, "slow": 60}})
    launchers.wait_for(process, "service r starting")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 5
    assert launchers.none_left()


def test_sigkill_of_the_launcher_ends_services_too(launchers: Launchers) -> None:
    process = launchers.start({"a": {"steps": 100, "seconds": 0.1}}, CHILDREN)
    launchers.wait_for(process, "progress a 2")
    process.kill()
    process.wait()
    assert launchers.none_left()
    code, text = launchers.run({"a": {"steps": 100, "seconds": 0.01}})
    assert code == 0, text
