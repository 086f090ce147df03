"""Several runs on one page."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from browser import Browser
from make_run import make_run

from residency.cli.main import main
from residency.errors import RecipeInvalid
from residency.report.collect import collect
from residency.report.html import page_of_several
from residency.report.model import RunRecord
from residency.report.several import several


def varied(root: Path, place: int, right: float, rate: float, **more: Any) -> Path:
    """A run as the quickstart's, with another id, learning rate and share of right answers."""
    made = make_run(root / f"made-{place}", attack=False, **more)
    folder = root / "runs" / "quickstart" / f"20260301-12041{place}-000{place}"
    shutil.copytree(made.parent.parent / "store", root / "runs" / f"store-{place}")
    shutil.copytree(made, folder, ignore=shutil.ignore_patterns("stages"))
    run = json.loads((folder / "run.json").read_text())
    run |= {"id": folder.name, "set": [f"params.lr={rate}"]}
    for stage in run["stages"]:
        stage["folder"] = stage["folder"].replace("store/", f"store-{place}/")
        if stage["name"] != "before":  # that one all share
            stage["key"] += f"-{place}"
        (folder / "stages").mkdir(exist_ok=True)
        (folder / "stages" / stage["name"]).symlink_to(root / "runs" / stage["folder"])
    (folder / "run.json").write_text(json.dumps(run))
    lock = yaml.safe_load((folder / "recipe.lock.yaml").read_text())
    training = {"learning_rate": rate, "max_steps": 100}
    lock["stages"] = {"sft": {"config": {"kind": "sft", "llamafactory": training}}}
    (folder / "recipe.lock.yaml").write_text(yaml.safe_dump(lock))
    after = next(root / "runs" / one["folder"] for one in run["stages"] if one["name"] == "after")
    if after.is_dir():
        _answer(after / "outputs", right)
    return folder


def _answer(outputs: Path, right: float) -> None:
    """Let so many of the answers be right, and the scores with them."""
    rows = [json.loads(line) for line in (outputs / "samples.jsonl").read_text().splitlines()]
    for task in {row["task"] for row in rows}:
        mine = [row for row in rows if row["task"] == task]
        for at, row in enumerate(mine):
            row |= {"correct": at < right * len(mine), "unreadable": False}
    (outputs / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = json.loads((outputs / "results.json").read_text())
    for score in found["scores"]:
        score |= {"value": right, "low": max(0.0, right - 0.1), "high": min(1.0, right + 0.1)}
    (outputs / "results.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("several")
    return [varied(root, place, right, rate) for place, (right, rate) in enumerate(SWEPT)]


SWEPT = ((0.5, 1e-4), (0.52, 2e-4), (0.9, 5e-4))


@pytest.fixture(scope="module")
def runs(folders: list[Path]) -> list[RunRecord]:
    return [collect(folder) for folder in folders]


def test_what_the_runs_differ_in(runs: list[RunRecord]) -> None:
    found = several(runs)
    # The engine's key differs as the parameter does, which stands for both.
    assert found.settings == {"params.lr": [1e-4, 2e-4, 5e-4]}
    assert found.labels[2] == "3: lr 0.0005"


def test_each_is_compared_with_the_first_and_all_are_corrected(runs: list[RunRecord]) -> None:
    found = several(runs)
    after = {
        (place, one.found.task): one
        for place, one in found.compared
        if one.found.metric == "accuracy" and one.found.after_stage == "after"
    }
    assert after[2, "case_report"].found.difference == pytest.approx(0.4)
    assert after[2, "case_report"].clear
    assert not after[1, "case_report"].clear
    assert {place for place, _ in found.compared} == {1, 2}
    # A stage that all took from the store is shown once, and not tested against itself.
    assert all(one.found.before_stage != "before" for _, one in found.compared)
    (shared,) = found.series()["case_report", "accuracy", "before"]
    assert (shared.runs, found.label(shared.runs)) == ((0, 1, 2), "all")
    ps = [(one.found.p, one.corrected) for _, one in found.compared if one.found.p is not None]
    assert all(p <= corrected <= 1 for p, corrected in ps if corrected is not None)
    smallest = min(ps)
    assert smallest[1] == pytest.approx(min(1.0, len(ps) * smallest[0]))


def test_the_page(runs: list[RunRecord]) -> None:
    text = page_of_several(several(runs))
    for part in ("runs", "scores", "differences", "curves"):
        assert f'<section id="{part}"' in text or f'id="{part}"' in text
    assert all(run.id in text for run in runs)
    assert len(re.findall(r'class="line run-\d', text)) >= 3
    assert "http" not in re.sub(r"http-equiv", "", text)


def test_one_run_or_the_same_twice(runs: list[RunRecord]) -> None:
    with pytest.raises(RecipeInvalid, match="nothing to stand beside"):
        several(runs[:1])
    with pytest.raises(RecipeInvalid, match="named twice"):
        several([runs[0], runs[0]])


def test_a_run_that_failed_stands_beside_one_that_went_well(tmp_path: Path, runs: list[RunRecord]) -> None:
    broken = collect(varied(tmp_path, 7, 0.5, 1e-3, outcome="failed"))
    found = several([runs[0], broken])
    text = page_of_several(found)
    assert "failed" in text
    assert 'class="line run-1' in text  # its curve up to there


def test_the_command(
    folders: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("RESIDENCY_RUNS", str(folders[0].parent.parent))
    out = tmp_path / "page.html"
    assert main(["report", *(folder.name for folder in folders[:2]), "-o", str(out)]) == 0
    assert "2 runs" in out.read_text()
    assert main(["report", "quickstart", "--all"]) == 0
    made = Path(capsys.readouterr().out.split()[-1])
    assert made.parent == folders[0].parent.parent
    assert "3 runs" in made.read_text()
    assert main(["report", "nowhere", "--all"]) != 0
    assert "there are no runs of nowhere" in capsys.readouterr().err
    made.unlink()


@pytest.mark.parametrize("width", [390, 1280])
def test_it_is_looked_at(runs: list[RunRecord], browser: Browser, tmp_path: Path, width: int) -> None:
    page = tmp_path / "page.html"
    page.write_text(page_of_several(several(runs)), encoding="utf-8")
    browser.open(page, width)
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    picture = browser.screenshot(tmp_path / f"{width}.png")
    assert picture.stat().st_size > 50_000
