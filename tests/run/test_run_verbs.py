"""`runs`, `show`, `diff`, finding a run, and the lock file."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from fake_engine import PROJECT, make_plan
from run_case import Heard

from residency.cli import diff, show
from residency.errors import RecipeInvalid
from residency.run import history, lock, origin, rundir
from residency.run.runner import RunResult, execute


@pytest.fixture(autouse=True)
def _here(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_RUNS", str(runs))


def make(runs: Path, stages: dict[str, dict], name: str = "demo") -> RunResult:
    return execute(
        make_plan(runs, stages, name=name), runs=runs, view=Heard(), command=["launch.py", "demo.yaml"]
    )


def call(verb, *arguments: str) -> int:  # type: ignore[no-untyped-def]
    parser = argparse.ArgumentParser()
    verb.add_parser(parser.add_subparsers())
    name = verb.__name__.rpartition(".")[2]
    return int(verb.run(parser.parse_args([name, *arguments])))


def test_no_runs(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    from residency.cli import runs as verb

    assert call(verb) == 0
    assert capsys.readouterr().out == f"no runs in {runs}\n"
    with pytest.raises(RecipeInvalid, match="there is no run x"):
        call(show, "x")


def test_runs_lists_the_newest_first(
    capsys: pytest.CaptureFixture[str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from residency.cli import runs as verb

    make(runs, {"a": {"steps": 2}})
    make(runs, {"a": {"steps": 2}, "b": {"steps": 4, "crash_at": 2}})
    make(runs, {"a": {"steps": 4}}, name="other")
    monkeypatch.setenv("COLUMNS", "120")
    assert call(verb) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["started", "recipe", "run", "status", "took", "stages", "result"]
    words = [line.split() for line in lines]
    assert [w[2] for w in words] == ["other", "demo", "demo"]
    assert [w[4] for w in words] == ["done", "failed", "done"]
    assert lines[0].endswith("1/1  a: loss 0.25")
    assert " 1/2 " in lines[1]
    assert call(verb, "demo", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["status"]) for row in rows] == [("demo", "failed"), ("demo", "done")]
    assert call(verb, "-n", "1") == 0
    assert "… and 2 older" in capsys.readouterr().out


@pytest.mark.parametrize("width", [None, 140, 79, 60, 46, 20])
def test_runs_fit_the_terminal(
    width: int | None, capsys: pytest.CaptureFixture[str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from residency.cli import runs as verb

    run = make(
        runs, {"a_stage_of_a_long_name": {"steps": 2}}, name="a-recipe-with-a-rather-long-name"
    ).run_dir
    if width is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(width))
    assert call(verb) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert max(len(head), len(line)) <= max(width or 80, 44), "the id, the status and some of the name stay"
    assert run.name in line
    assert "done" in line
    if width is None or width >= 79:
        assert line.endswith("loss 0.5")
        assert ("…" in line) == (width != 140)
    if width == 140:
        assert "a-recipe-with-a-rather-long-name" in line


def test_show(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    make(runs, {"a": {"steps": 2}})
    result = make(runs, {"a": {"steps": 2}, "b": {"steps": 4, "crash_at": 2}})
    assert call(show, "demo") == 0
    text = capsys.readouterr().out
    assert f"demo {result.run_dir.name}: failed in" in text
    for wanted in (
        "reused",
        "stage b failed with exit status 3: ValueError: the loss is nan",
        "outputs/result.txt",
        "log.txt",
        "repeat it: python launch.py demo.yaml",
        "sh command.txt",
    ):
        assert wanted in text
    assert call(show, result.run_dir.name, "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["stages"][0]["state"]["metrics"] == {"steps": 2, "loss": 0.5}
    assert found["stages"][1]["state"]["status"] == "failed"


def test_what_a_later_run_finished_is_not_the_earlier_one_s(
    capsys: pytest.CaptureFixture[str], runs: Path
) -> None:
    stages = {"a": {"steps": 4, "crash_at": 2}}
    first = make(runs, stages).run_dir
    make(runs, stages)
    assert call(show, str(first)) == 0
    assert "finished later by demo/" in capsys.readouterr().out
    assert history.load(first).headline() == ""
    assert history.load(rundir.find(runs, "demo")).headline() == "a: loss 0.25"


def test_diff(capsys: pytest.CaptureFixture[str], runs: Path) -> None:
    a = make(runs, {"a": {"steps": 2}})
    b = make(runs, {"a": {"steps": 4, "seconds": 0.01}})
    assert call(diff, a.run_dir.name, b.run_dir.name) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["a.steps", "2", "4"] in lines
    assert ["a.seconds", "-", "0.01"] in lines
    assert ["a.loss", "0.5", "0.25", "-0.25"] in lines
    assert call(diff, str(a.run_dir), "demo", "--format", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {d["key"] for d in found["recipe"]} == {"a.steps", "a.seconds"}
    assert found["versions"] == []
    assert {"key": "a.steps", "a": 2, "b": 4} in found["metrics"]
    (a.run_dir / lock.FILE).unlink()
    assert call(diff, str(a.run_dir), "demo") == 0, "a lost lock is no error"


def test_diff_tells_versions_functions_and_data(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = make(runs, {"a": {"steps": 2}})
    b = make(runs, {"a": {"steps": 2}})
    path = b.run_dir / lock.FILE
    found = yaml.safe_load(path.read_text())
    found["versions"]["torch"] = "9.9.9"
    found["functions"] = {"rewards.x.y": "f" * 64}
    found["files"] = {"a": {"train.jsonl": "e" * 64}}
    path.write_text(yaml.safe_dump(found))
    call(diff, a.run_dir.name, b.run_dir.name, "--format", "json")
    said = json.loads(capsys.readouterr().out)
    assert [d["b"] for d in said["versions"]] == ["9.9.9"]
    assert said["functions"] == [{"key": "rewards.x.y", "a": None, "b": "f" * 64}]
    assert said["data"] == [{"key": "files.a.train.jsonl", "a": None, "b": "e" * 64}]


def test_finding_a_run(runs: Path) -> None:
    first = make(runs, {"a": {"steps": 1}}).run_dir
    second = make(runs, {"a": {"steps": 1}}).run_dir
    assert rundir.find(runs, "demo") == second
    assert rundir.find(runs, "latest") == second
    assert rundir.find(runs, first.name) == first
    assert rundir.find(runs, first.name[:-1]) in (first, second)
    assert rundir.find(runs, f"demo/{first.name}") == first
    assert rundir.find(runs, str(second)) == second
    with pytest.raises(RecipeInvalid, match=r"is the start of 2 runs") as caught:
        rundir.find(runs, first.name[:6])
    assert first.name in (caught.value.hint or "")
    with pytest.raises(RecipeInvalid) as caught:
        rundir.find(runs, "dmeo")
    assert caught.value.hint == "did you mean demo?"
    assert caught.value.exit_code == 2
    with pytest.raises(RecipeInvalid) as caught:
        rundir.find(runs, "something-else")
    assert second.name in (caught.value.hint or "")
    (first / "run.json").write_text("{")
    assert [folder for folder, _ in rundir.all_runs(runs)] == [second]


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("quickstart", "quickstart"),
        ("my run/x", "my-run-x"),
        ("../..", "run"),
        ("store", "store-run"),
        ("é", "é"),
    ],
)
def test_a_name_as_a_folder(name: str, folder: str) -> None:
    assert rundir.folder_name(name) == folder


def test_the_lock(runs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    refs = tmp_path / "hub/models--org--model/refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("0123abcd")
    stages = {
        "data": {
            "steps": 1,
            "split": {"seed": 7},
            "sources": {"pubmed": {"url": "https://x/y.gz", "sha256": "a" * 64, "licence": "public domain"}},
        },
        "sft": {"steps": 1, "llamafactory": {"model_name_or_path": "org/model", "seed": 3}},
    }
    plan = make_plan(runs, stages, overrides=("a=b",))
    plan.profiles = ("smoke",)
    plan.stages[0].parts = {
        **plan.stages[0].parts,
        "function.rewards.x.y": "f" * 64,
        "file.t.jsonl": "e" * 64,
    }
    result = execute(plan, runs=runs, view=Heard(), command=["launch.py", "x.yaml", "--set", "a=b"])
    found = yaml.safe_load((result.run_dir / lock.FILE).read_text())
    assert found["command"] == ["launch.py", "x.yaml", "--set", "a=b"]
    assert (found["profiles"], found["set"]) == (["smoke"], ["a=b"])
    assert found["seeds"] == {"data": {"split.seed": 7}, "sft": {"llamafactory.seed": 3}}
    assert found["sources"]["data"]["pubmed"]["licence"] == "public domain"
    assert found["models"]["sft"]["llamafactory.model_name_or_path"] == {
        "name": "org/model",
        "revision": None,
        "commit": "0123abcd",
    }
    assert found["functions"] == {"rewards.x.y": "f" * 64}
    assert found["files"] == {"data": {"t.jsonl": "e" * 64}}
    assert found["stages"]["sft"]["config"]["input"] == "${stages.data.outputs.result}"
    assert found["versions"]["pytest"] == pytest.__version__
    assert found["versions"]["python"].startswith("3.")
    assert found["git"] == origin.git(PROJECT)


def test_what_a_stage_recorded_of_its_sources_is_locked(runs: Path) -> None:
    plan = make_plan(runs, {"data": {"steps": 1, "sources": {"pubmed": {"url": "https://x/y.gz"}}}})
    (plan.stages[0].folder / "outputs").mkdir(parents=True)
    report = {"sources": {"pubmed": {"sha256": "c" * 64, "bytes": 9}}}
    (plan.stages[0].folder / "outputs/report.json").write_text(json.dumps(report))
    result = execute(plan, runs=runs, view=Heard(), command=[])
    found = yaml.safe_load((result.run_dir / lock.FILE).read_text())
    assert found["sources"] == {"data": {"pubmed": {"url": "https://x/y.gz", "sha256": "c" * 64, "bytes": 9}}}


def test_git_of_a_repository_and_of_none(tmp_path: Path) -> None:
    assert origin.git(tmp_path) == {"commit": None, "dirty": None}
    env = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    env["GIT_COMMITTER_EMAIL"] = "a@b"
    (tmp_path / "x").write_text("1")
    for command in (["init", "-q"], ["add", "x"], ["commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True, env=env)
    found = origin.git(tmp_path)
    assert len(found["commit"]) == 40
    assert found["dirty"] is False
    (tmp_path / "x").write_text("2")
    assert origin.git(tmp_path)["dirty"] is True
