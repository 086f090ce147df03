"""The comparison that a pipeline gets by itself, and what becomes of a leak."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.cli.main import main
from residency.plan.check import check
from residency.plan.guard import unseen, with_guard
from residency.recipe.model import Recipe
from residency.recipe.pipeline import needs

LEAKED = "Does early mobilisation after hip fracture surgery shorten the stay in hospital of older adults?"
OTHER = "Is serum ferritin a marker of disease activity in adults with rheumatoid arthritis or not so?"


def question(text: str, identity: str) -> dict[str, str]:
    return {"id": identity, "instruction": text, "output": "<answer>yes</answer>", "label": "yes"}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Training rows of which one asks what the first of two evaluation rows asks."""
    monkeypatch.setenv("RESIDENCY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("RESIDENCY_CACHE", str(tmp_path / "cache"))
    rows = [{"response": f"Finding {n}", "reference": f"Finding {n}", "label": n % 2} for n in range(20)]
    rows.append({"response": LEAKED.upper().replace(" ", "\n"), "reference": "yes", "label": 1})
    write(tmp_path / "train.jsonl", rows)
    write(tmp_path / "test.jsonl", [question(LEAKED, "q1"), question(OTHER, "q2")])
    return tmp_path


def pipeline(folder: Path, **more: Any) -> Path:
    evaluate = {"kind": "evaluate", "model": "org/model", "tasks": ["study_questions"]}
    evaluate["data"] = {"study_questions": "test.jsonl"}  # type: ignore[assignment]
    stages = {
        "before": evaluate,
        "verifier": {"kind": "verifier", "model": "org/model", "dataset": "train.jsonl"},
        "after": {**evaluate, "model": "${stages.verifier.outputs.model}"},
    }
    recipe = {"kind": "pipeline", "name": "guarded", "stages": stages, **more}
    path = folder / "pipeline.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def guarded(path: Path) -> dict[str, Recipe]:
    checked = check(path)
    assert checked.found.ok, [item.message for item in checked.found]
    assert checked.recipe is not None
    return with_guard(checked.recipe, checked.stages)


def test_it_stands_before_the_training_and_names_equal_data_once(folder: Path) -> None:
    stages = guarded(pipeline(folder))
    assert next(iter(stages)) == "contamination"
    assert needs(stages["verifier"]) == {"contamination"}
    assert needs(stages["before"]) == set()
    config = stages["contamination"].config
    assert config["training"] == {"verifier": [str(folder / "train.jsonl")]}
    assert config["evaluation"] == {
        "before/study_questions, after/study_questions": [str(folder / "test.jsonl")]
    }


def test_nothing_is_compared_without_training_or_without_evaluation(folder: Path) -> None:
    path = pipeline(folder)
    recipe = yaml.safe_load(path.read_text())
    for kept in ({"before"}, {"verifier"}):
        stages = {name: stage for name, stage in recipe["stages"].items() if name in kept}
        path.write_text(yaml.safe_dump({**recipe, "stages": stages}))
        assert set(guarded(path)) == kept


def test_the_recipe_says_how(folder: Path) -> None:
    allowed = {"reason": "known", "ids": ["q1"]}
    path = pipeline(folder, allow_leak=allowed, contamination={"ngram": 8, "ids": ["case"]})
    config = guarded(path)["contamination"].config
    assert (config["allow_leak"], config["ngram"], config["ids"]) == (allowed, 8, ["case"])


def test_a_pipeline_of_which_nothing_lies_here_is_warned_of(folder: Path) -> None:
    path = pipeline(folder)
    checked = check(path)
    assert checked.recipe
    assert unseen(checked.recipe, checked.stages) == []
    recipe = yaml.safe_load(path.read_text())
    del recipe["stages"]["before"]
    recipe["stages"]["after"] |= {"tasks": ["hellaswag"], "data": {}}
    path.write_text(yaml.safe_dump(recipe))
    checked = check(path)
    assert checked.recipe
    (said,) = unseen(checked.recipe, checked.stages)
    assert "after: the task hellaswag, which brings its own questions" in said


def test_a_stage_of_the_same_name_stays(folder: Path) -> None:
    path = pipeline(folder)
    recipe = yaml.safe_load(path.read_text())
    own = {"kind": "contamination", "training": {"a": "train.jsonl"}, "evaluation": {"b": "test.jsonl"}}
    recipe["stages"]["contamination"] = own
    path.write_text(yaml.safe_dump(recipe))
    stages = guarded(path)
    assert {"contamination", "contamination_"} <= set(stages)
    assert needs(stages["verifier"]) == {"contamination_"}


def test_data_made_by_a_trained_model_are_compared_once_they_are_there(folder: Path) -> None:
    path = pipeline(folder)
    recipe = yaml.safe_load(path.read_text())
    again = {"kind": "verifier", "model": "org/model", "dataset": "${stages.verifier.outputs.predictions}"}
    recipe["stages"]["again"] = again
    path.write_text(yaml.safe_dump(recipe))
    stages = guarded(path)
    assert needs(stages["contamination_again"]) == {"verifier"}
    assert needs(stages["again"]) == {"verifier", "contamination_again"}
    assert "verifier" not in needs(stages["contamination"])


def test_plan_tells_of_a_leak_between_files_that_are_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(pipeline(folder)), "--format", "json"]) == 4
    told = capsys.readouterr()
    report = json.loads(told.out)["contamination"]["contamination"]
    assert (report["leaks"], report["allowed"]) == (1, 0)
    assert "test.jsonl row 1 (q1) is in train.jsonl row 21" in told.err
    assert main(["plan", str(pipeline(folder, allow_leak={"reason": "known"}))]) == 0
    assert "allowed (known)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_leak_ends_the_run_before_training(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pipeline(folder)
    recipe = yaml.safe_load(path.read_text())
    del recipe["stages"]["before"]
    path.write_text(yaml.safe_dump(recipe))
    assert main(["run", str(path), "--plain"]) == 4
    told = capsys.readouterr()
    said = told.out + told.err
    assert "1 question of after/study_questions stands in 1 row of the training set of verifier" in said
    assert "test.jsonl row 1 (q1) is in train.jsonl row 21" in said
    (leaks,) = (folder / "runs" / "store").glob("contamination-*/outputs/leaks.jsonl")
    (leak,) = map(json.loads, leaks.read_text().splitlines())
    assert leak["evaluation"] == {
        "set": "after/study_questions",
        "file": str(folder / "test.jsonl"),
        "row": 1,
        "id": "q1",
    }
    assert leak["shared"] == LEAKED.removesuffix("?")
    assert leak["training_text"] == LEAKED.upper().replace(" ", "\n").removesuffix("?")
    assert not list((folder / "runs" / "store").glob("verifier-*/log.txt"))
    (page,) = (folder / "runs" / "guarded").glob("2*/report.html")
    assert "Leaks stopped the run" in page.read_text()


@pytest.mark.slow
def test_a_leak_that_is_allowed_is_told_and_the_comparison_is_not_made_twice(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ids, code in ((["q2"], 4), (["q1"], 0), (["q1"], 0)):
        allowed = {"reason": "it is in the published set", "ids": ids}
        sets = {"training": {"sft": "train.jsonl"}, "evaluation": {"test": "test.jsonl"}}
        path = folder / "alone.yaml"
        path.write_text(
            yaml.safe_dump({"kind": "contamination", "name": "alone", **sets, "allow_leak": allowed})
        )
        capsys.readouterr()
        assert main(["run", str(path), "--plain"]) == code
    said = capsys.readouterr().out
    assert "reused" in said
    page = folder / "runs" / "alone" / "latest" / "report.html"
    assert "Reason given: it is in the published set" in page.read_text()


def test_a_wrong_recipe_is_refused(folder: Path) -> None:
    found = check(pipeline(folder, allow_leak={"ids": ["q1"]})).found
    assert [item.code for item in found.items] == ["missing-key"]
    path = folder / "alone.yaml"
    sets = {"training": {"sft": "trian.jsonl"}, "evaluation": {"test": "no-such-set"}}
    path.write_text(yaml.safe_dump({"kind": "contamination", "name": "alone", **sets}))
    assert sorted(item.code for item in check(path).found.items) == ["missing-file", "unknown-dataset"]
