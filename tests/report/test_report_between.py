from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.cli.main import main
from residency.errors import RecipeInvalid
from residency.report.between import between, within
from residency.report.collect import collect
from residency.report.compare import compare, holm
from residency.report.model import RunRecord
from residency.report.scores import Sample, Score


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_never_lowers(ps: list[float]) -> None:
    found = holm(ps)
    assert all(p <= corrected <= 1 for p, corrected in zip(ps, found, strict=True))
    by_p = [corrected for _, corrected in sorted(zip(ps, found, strict=True))]
    assert by_p == sorted(by_p)


def test_holm_gives_the_figures_of_its_paper() -> None:
    # 4 · 0.005, 3 · 0.01, 2 · 0.03, and 0.04 raised to what comes before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_only_shared_questions_are_compared() -> None:
    def sample(identity: int, right: bool) -> Sample:
        return Sample("t", str(identity), "?", "yes", "", None, right, False, {})

    before = [sample(i, i % 2 == 0) for i in range(100)]
    after = [sample(i, True) for i in range(60, 140)]
    scores = Score("t", "accuracy", 0.5, 100), Score("t", "accuracy", 1.0, 80)
    found = compare("b", scores[0], before, "a", scores[1], after, shared=True)
    assert (found.n, found.gained, found.lost, found.difference) == (40, 20, 0, 0.5)
    assert (found.before.n, found.before.value) == (40, 0.5)
    assert "40 questions that both asked, of 100 and 80" in str(found.note)


def test_strict_and_lenient_are_compared_each_by_its_own_reading() -> None:
    def sample(identity: int, strict: bool, lenient: bool) -> Sample:
        return Sample("t", str(identity), "?", "yes", "", None, strict, False, {}, lenient)

    before = [sample(i, i < 10, i < 40) for i in range(100)]
    after = [sample(i, i < 30, i < 40) for i in range(100)]
    for metric, values, gained in (
        ("accuracy", (0.1, 0.3), 20),
        ("accuracy_lenient", (0.4, 0.4), 0),
        ("accuracy,lenient", (0.4, 0.4), 0),
    ):
        scores = [Score("t", metric, value, 100) for value in values]
        found = compare("b", scores[0], before, "a", scores[1], after)
        assert (found.paired, found.gained, found.lost) == (True, gained, 0), metric


@pytest.fixture
def other(done: Path, tmp_path: Path) -> Path:
    """A copy of the run, which a test may change."""
    folder = tmp_path / "20260302-120000-abcd"
    shutil.copytree(done, folder, symlinks=False)
    return folder


def say(run: Path, stage: str, key: str, value: object) -> None:
    """Put something of each task's asking into a stage's results."""
    path = run / "stages" / stage / "outputs" / "results.json"
    results = json.loads(path.read_text())
    results["tasks"] = {score["task"]: {key: value} for score in results["scores"]}
    path.write_text(json.dumps(results))


def test_stages_of_one_run(done: Path) -> None:
    found = within(collect(done))
    assert {(x.found.before_stage, x.found.after_stage) for x in found.compared} >= {("before", "after")}
    assert found.tests > 1
    assert all(x.corrected >= x.found.p for x in found.compared if x.corrected is not None)  # type: ignore[operator]


def test_a_run_against_itself_differs_in_nothing(done: Path, other: Path) -> None:
    a, b = collect(done), collect(other)
    found = between(a, b)
    assert {x.found.before_stage for x in found.compared} >= {"before", "after"}
    for x in found.compared:
        assert x.found.before_stage == x.found.after_stage
        assert x.found.difference == 0
        assert not x.clear
        assert not [w for w in x.warnings if "prompt" in w]


def test_other_versions_are_refused_and_other_prompts_told(other: Path, tmp_path: Path) -> None:
    second = tmp_path / "20260303-120000-abce"
    shutil.copytree(other, second)
    for run, about in ((other, (1, "aa")), (second, (2, "bb"))):
        say(run, "after", "version", about[0])
        say(run, "before", "prompt_hash", about[1])
    found = between(collect(other), collect(second))
    assert [r for r in found.refused if "version 1" in r and "version 2" in r]
    assert "before" in {x.found.before_stage for x in found.compared}
    assert "after" not in {x.found.before_stage for x in found.compared}
    told = [x.warnings for x in found.compared if x.found.before_stage == "before"]
    assert all("prompts differ" in warnings[0] for warnings in told)


def test_nothing_in_common(done: Path) -> None:
    run = collect(done)
    renamed: RunRecord = collect(done)
    for stage in renamed.stages:
        stage.scores = [replace(score, task="another") for score in stage.scores]
    with pytest.raises(RecipeInvalid, match="no task in common"):
        between(run, renamed)
    with pytest.raises(RecipeInvalid, match="no scores of a stage nowhere"):
        between(run, run, "nowhere")


def test_the_verb(done: Path, other: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", f"{done}:before", f"{other}:after"]) == 0
    text = capsys.readouterr().out
    assert "became right" in text
    assert "Holm" in text
    assert main(["compare", str(done), "--format", "json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["compared"][0]["n"]
    assert value["correction"] == "holm"
