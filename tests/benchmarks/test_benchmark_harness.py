from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import check, run
from benchmarks.timing import Result, Unmeasured, once, times


def quick() -> Iterator[Result]:
    yield Result("quick", 0.1, goal=0.25, against="another", ratio=44.0)


def slow() -> Iterator[Result]:
    yield Result("slow", 0.5, goal=0.25)


def broken() -> Iterator[Result]:
    raise Unmeasured("the engine is not there")
    yield


def given(monkeypatch: pytest.MonkeyPatch, *measures: run.Measure) -> None:
    monkeypatch.setattr(run, "measures", lambda names=(): [(m.__name__, m) for m in measures])


def test_a_table_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    given(monkeypatch, quick, slow)
    out = tmp_path / "figures.json"
    assert run.main(["--json", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["quick", "0.100", "s", "≤", "0.25", "s", "met", "44.0×", "another"]
    assert "MISSED" in lines[2]
    assert [r["met"] for r in json.loads(out.read_text())["results"]] == [True, False]
    assert run.main(["--strict"]) == 1


def test_what_cannot_be_measured_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, broken, quick)
    assert run.main([]) == 1
    said = capsys.readouterr()
    assert "broken could not be measured: the engine is not there" in said.err
    assert "quick" in said.out


def test_a_command_that_fails_is_not_timed() -> None:
    with pytest.raises(Unmeasured, match="exited 3: no data"):
        once((sys.executable, "-c", "print('no data'); raise SystemExit(3)"))
    with pytest.raises(Unmeasured, match="is not there"):
        once(("no-such-command",))
    assert len(times((sys.executable, "-c", "pass"), 2)) == 2


def test_names_choose_measures() -> None:
    assert [name for name, _ in run.measures(["typo"])] == ["check.typo"]
    assert {"check.quickstart", "launcher.overhead"} <= {name for name, _ in run.measures()}


def test_the_long_pipeline_is_a_right_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from residency.cli.main import main

    path = tmp_path / "long.yaml"
    path.write_text(check.pipeline_text(1000))
    assert path.read_text().count("\n") >= 1000
    assert main(["check", str(path)]) == 0, capsys.readouterr().out
