"""The store, state files, metrics files and claims, each by itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_engine import make_plan
from run_case import Heard

from residency.run import claim, procs, state
from residency.run.metrics import MetricsFile
from residency.run.runner import execute
from residency.run.state import State
from residency.run.store import Store

PRINT = "ab" * 32


@pytest.fixture
def store(runs: Path) -> Store:
    return Store(runs)


def put(store: Store, key: str, status: str, **values: object) -> Path:
    folder = store.folder / key
    (folder / "outputs").mkdir(parents=True)
    (folder / "outputs/x.txt").write_text("12345")
    found = State(status, "a", "sft", key, PRINT, outputs={"x": "outputs/x.txt"})  # type: ignore[arg-type]
    found.files = {"outputs/x.txt": 5}
    for name, value in values.items():
        setattr(found, name, value)
    found.save(folder)
    return folder


KEY = f"sft-{PRINT[:16]}"


def test_nothing_there(store: Store) -> None:
    assert store.find("sft", PRINT) == []
    found = store.choose("sft", PRINT)
    assert (found.key, found.action, found.reason) == (KEY, "run", "")
    assert found.folder == store.folder / KEY


def test_the_newest_finished_wins(store: Store) -> None:
    put(store, KEY, "done")
    put(store, f"{KEY}.2", "done", ended="2026-03-01T12:00:00.000Z")
    put(store, f"{KEY}.3", "interrupted")
    found = store.choose("sft", PRINT)
    assert (found.key, found.action) == (f"{KEY}.2", "reuse")
    assert found.reason.startswith("finished 2026-03-01")
    assert [a.number for a in store.find("sft", PRINT)] == [3, 2, 1]
    assert store.key_for("sft", PRINT, fresh=True) == f"{KEY}.4"
    fresh = store.choose("sft", PRINT, fresh=True)
    assert (fresh.key, fresh.action, fresh.reason) == (f"{KEY}.4", "run", "--fresh")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda f: (f / "outputs/x.txt").unlink(), "its output x (outputs/x.txt) is gone"),
        (lambda f: (f / "outputs/x.txt").write_text("1234"), "outputs/x.txt has changed: 4 bytes, was 5"),
        (lambda f: shutil.rmtree(f / "outputs"), "its output x (outputs/x.txt) is gone"),
    ],
)
def test_damaged_outputs_are_not_reused(store: Store, harm, said: str) -> None:  # type: ignore[no-untyped-def]
    harm(put(store, KEY, "done"))
    found = store.choose("sft", PRINT)
    assert (found.key, found.action) == (f"{KEY}.2", "run")
    assert found.reason == f"finished before, but {said}"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"status": "perhaps"}', '{"status": "done"}', "\x00\x00"])
def test_a_state_that_says_nothing_is_not_reused(store: Store, text: str) -> None:
    folder = put(store, KEY, "done")
    (folder / "state.json").write_text(text)
    found = store.choose("sft", PRINT)
    assert (found.key, found.action) == (KEY, "resume")
    assert found.attempt is not None
    assert found.attempt.status == "unreadable"


def test_half_made_folders(store: Store) -> None:
    (store.folder / KEY).mkdir(parents=True)
    assert store.choose("sft", PRINT).action == "run"
    assert store.choose("sft", PRINT).key == KEY
    (store.folder / f"sft-{PRINT[:16]}x").mkdir()
    (store.folder / f"{KEY}.2").write_text("a file")
    assert [a.key for a in store.find("sft", PRINT)] == [KEY]


def test_reasons_to_go_on(store: Store) -> None:
    folder = put(store, KEY, "failed", error={"message": "out of memory", "hint": None})
    assert store.choose("sft", PRINT).reason == "failed before: out of memory"
    state.load(folder)
    State("running", "a", "sft", KEY, PRINT, started="2026-03-01T12:00:00.000Z").save(folder)
    found = store.choose("sft", PRINT)
    assert (found.action, found.attempt.status if found.attempt else "") == ("resume", "interrupted")
    with claim.take(folder, "a"):
        found = store.choose("sft", PRINT)
        assert found.reason == "another launcher is running it"


def test_a_store_of_thousands_is_not_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    put(store, KEY, "done")
    for i in range(2000):
        (store.folder / f"sft-{i:016x}").mkdir()
    monkeypatch.setattr(os, "scandir", lambda *_: pytest.fail("the whole store is read"))
    monkeypatch.setattr(os, "listdir", lambda *_: pytest.fail("the whole store is read"))
    began = time.perf_counter()
    for _ in range(100):
        assert store.choose("sft", PRINT).action == "reuse"
    assert (time.perf_counter() - began) / 100 < 0.005


def test_the_runs_folder_may_be_moved(runs: Path, tmp_path: Path, heard: Heard) -> None:
    first = execute(make_plan(runs, {"a": {"steps": 2}}), runs=runs, view=heard, command=[])
    moved = tmp_path / "elsewhere"
    runs.rename(moved)
    assert (moved / "demo" / "latest" / "stages" / "a" / "outputs/result.txt").is_file()
    assert first.run_dir.name in os.listdir(moved / "demo")
    assert make_plan(moved, {"a": {"steps": 2}}).stages[0].action == "reuse"


def test_state_keeps_what_json_can_hold(tmp_path: Path) -> None:
    found = State("done", "a", "sft", KEY, PRINT, metrics={"loss": float("nan"), "path": Path("/x"), "n": 3})
    found.save(tmp_path)
    text = (tmp_path / "state.json").read_text()
    assert "NaN" not in text
    again = state.load(tmp_path)
    assert again is not None
    assert again.metrics == {"loss": None, "path": "/x", "n": 3}


# ---- metrics


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_are_appended_merged_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    found = MetricsFile(path)
    assert found.update([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]) == 2
    inode = path.stat().st_ino
    assert found.update([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]) == 0
    found.update([{"step": 3, "loss": 1.0}])
    assert path.stat().st_ino == inode, "new steps are appended"
    found.update([{"step": 2, "loss": 2.5}, {"step": 3, "eval_loss": 1.5}, {"loss": 9}])
    assert rows_of(path) == [
        {"step": 1, "loss": 3.0},
        {"step": 2, "loss": 2.5},
        {"step": 3, "loss": 1.0, "eval_loss": 1.5},
    ]


def test_a_half_written_line_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo')
    found = MetricsFile(path)
    found.update([{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}])
    assert rows_of(path) == [{"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0}]


def test_not_a_number_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path).update([{"step": 1, "loss": float("nan")}])
    assert rows_of(path) == [{"step": 1, "loss": None}]


# ---- claims


def test_one_claim_at_a_time(tmp_path: Path) -> None:
    with claim.take(tmp_path, "a"):
        with pytest.raises(claim.Busy, match=f"stage a is being run by process {os.getpid()} since"):
            claim.take(tmp_path, "a")
        assert claim.is_held(tmp_path)
    assert not claim.is_held(tmp_path)
    claim.take(tmp_path, "a").release()


def test_a_holder_on_another_machine_is_never_killed(tmp_path: Path) -> None:
    with claim.take(tmp_path, "a") as held:
        holder = json.loads((tmp_path / claim.FILE).read_text()) | {"host": "elsewhere", "pid": 1}
        os.ftruncate(held.fd, 0)
        os.pwrite(held.fd, json.dumps(holder).encode(), 0)
        with pytest.raises(claim.Busy, match="process 1 on elsewhere since"):
            claim.take(tmp_path, "a", patience=0)


def test_a_pid_given_to_someone_else_is_not_killed(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], start_new_session=True)
    try:
        mark = procs.started(other.pid)
        assert mark is not None
        assert procs.alive(other.pid, mark)
        assert not procs.alive(other.pid, mark + "0")
        assert not procs.kill_group(other.pid, mark + "0")
        assert other.poll() is None
        assert procs.kill_group(other.pid, mark)
        assert other.wait(5) == -9
        assert procs.started(other.pid) is None
        assert not procs.kill_group(other.pid, mark)
    finally:
        other.kill()
        other.wait()
