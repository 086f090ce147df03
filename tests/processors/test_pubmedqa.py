from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from processors.pubmedqa import read, read_golden
from residency.errors import RecipeInvalid, StageFailed
from residency.processing import Report

COMMIT = "1cbae8e92f72f20c8d3747cbb3bf5bc53554d997"


def files(folder: Path, questions: Any, truth: Any) -> list[dict[str, Any]]:
    (folder / "q.json").write_text(json.dumps(questions))
    (folder / "t.json").write_text(json.dumps(truth))
    return [{"path": str(folder / "q.json"), "source": "q"}, {"path": str(folder / "t.json"), "source": "t"}]


def question(label: str = "yes", **given: Any) -> dict[str, Any]:
    return {
        "QUESTION": "Does it help?",
        "CONTEXTS": ["We asked.", "We found."],
        "LABELS": ["METHODS", "RESULTS"],
        "LONG_ANSWER": "It helps.",
        "final_decision": label,
        **given,
    }


def test_the_official_parts(mirror_dir: Path) -> None:
    data = mirror_dir / "raw.githubusercontent.com" / "pubmedqa" / "pubmedqa" / COMMIT / "data"
    sources = [{"path": str(data / name)} for name in ("ori_pqal.json", "test_ground_truth.json")]
    truth = json.loads((data / "test_ground_truth.json").read_text())
    test = list(read(iter(sources), part="test"))
    train = list(read(iter(reversed(sources)), part="train"))
    assert {row["pmid"]: row["label"] for row in test} == truth
    assert Counter(row["label"] for row in test) == {"yes": 276, "no": 169, "maybe": 55}
    assert len(train) == 500
    assert not {row["pmid"] for row in train} & set(truth)
    assert all(row["output"] == f"<answer>{row['label']}</answer>" for row in test)


def test_a_row_holds_the_question_the_context_and_the_answer(tmp_path: Path) -> None:
    sources = files(tmp_path, {"1": question(), "2": question("maybe")}, {"2": "maybe"})
    (row,) = read(iter(sources), part="train", section_names=True, reasoning=True)
    assert row["instruction"].startswith("Does it help? Answer with exactly")
    assert row["input"] == "METHODS: We asked.\nRESULTS: We found."
    assert row["output"] == "It helps.\n<answer>yes</answer>"
    (held_out,) = read(iter(sources), part="test", reasoning=True, contexts=False)
    assert held_out["output"] == "<answer>maybe</answer>", "the long answer of a test question is not shown"
    assert held_out["input"] == ""


def test_bad_rows_are_counted(tmp_path: Path) -> None:
    questions = {"1": question(), "2": question("perhaps"), "3": question(QUESTION=" "), "4": question("no")}
    report = Report()
    rows = list(read(iter(files(tmp_path, questions, {"4": "yes"})), part="train", report=report))
    assert [row["pmid"] for row in rows] == ["1"]
    assert report.dropped == {"no question or no label": 2, "labelled otherwise in the ground truth": 1}


def test_without_the_ground_truth_nothing_is_given(tmp_path: Path) -> None:
    sources = files(tmp_path, {"1": question()}, {"1": "yes"})
    with pytest.raises(StageFailed, match="ground truth"):
        list(read(iter(sources[:1]), part="train"))


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="mapping of PMIDs"):
        list(read(iter(files(tmp_path, [1, 2], {"1": "yes"})), part="train"))
    (tmp_path / "q.json").write_text("{")
    with pytest.raises(StageFailed, match="not JSON"):
        list(read(iter([{"path": str(tmp_path / "q.json")}]), part="train"))


def test_a_test_question_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="1 of the 2 test questions"):
        list(read(iter(files(tmp_path, {"1": question()}, {"1": "yes", "9": "no"})), part="test"))


def test_reasoning_within_tags_is_asked_for_and_shown(tmp_path: Path) -> None:
    sources = files(tmp_path, {"1": question(), "2": question("maybe")}, {"2": "maybe"})
    (row,) = read(iter(sources), part="train", tags=True)
    assert "<reasoning></reasoning>" in row["instruction"]
    assert row["output"] == "<reasoning>It helps.</reasoning>\n<answer>yes</answer>"
    (held_out,) = read(iter(sources), part="test", tags=True)
    assert held_out["instruction"] == row["instruction"]
    assert held_out["output"] == "<answer>maybe</answer>"


def golden(identity: str, label: str = "no", **given: Any) -> dict[str, Any]:
    row = {"id": identity, "question": "Does it?", "context": "We  asked.", "reasoning": "So so."}
    return {**row, "perfect_reasoning": "Clearly not.", "ground_truth": label, **given}


def test_the_golden_format_loses_the_official_test(tmp_path: Path) -> None:
    rows = [golden("1"), golden("2"), golden("3", "perhaps"), golden("4", "Yes", perfect_reasoning=None)]
    sources = files(tmp_path, rows, {"2": "no"})
    report = Report()
    first, second = read_golden(iter(sources), tags=True, report=report)
    assert first["output"] == "<reasoning>Clearly not.</reasoning>\n<answer>no</answer>"
    assert first["input"] == "We asked."
    assert (second["pmid"], second["label"]) == ("4", "yes")
    assert "So so." in second["output"]
    assert (report.read, report.kept) == (4, 2)
    assert report.dropped == {"of the test set": 1, "no id, no question or no label": 1}


def test_a_golden_file_needs_the_ground_truth(tmp_path: Path) -> None:
    (tmp_path / "g.json").write_text(json.dumps([golden("1")]))
    with pytest.raises(StageFailed, match="ground truth"):
        list(read_golden(iter([{"path": str(tmp_path / "g.json")}])))


def test_the_ten_folds(mirror_dir: Path) -> None:
    data = mirror_dir / "raw.githubusercontent.com" / "pubmedqa" / "pubmedqa" / COMMIT / "data"
    sources = [{"path": str(data / name)} for name in ("ori_pqal.json", "test_ground_truth.json")]
    truth = json.loads((data / "test_ground_truth.json").read_text())
    dev = [{row["pmid"] for row in read(iter(sources), part="dev", fold=fold)} for fold in range(10)]
    assert [len(fold) for fold in dev] == [50] * 10
    assert len(set().union(*dev)) == 500
    assert not set().union(*dev) & set(truth)
    train = {row["pmid"] for row in read(iter(sources), part="train", fold=3)}
    assert train == set().union(*dev) - dev[3]
    assert len(list(read(iter(sources), part="test", fold=3))) == 500


def test_a_fold_needs_all_questions(tmp_path: Path) -> None:
    sources = files(tmp_path, {"1": question(), "2": question("maybe")}, {"1": "yes"})
    with pytest.raises(RecipeInvalid, match="needs a fold"):
        list(read(iter(sources), part="dev"))
    with pytest.raises(StageFailed, match="official split"):
        list(read(iter(sources), part="dev", fold=0))
    sources = files(tmp_path, {"1": question(), "2": question("?")}, {"1": "yes"})
    with pytest.raises(StageFailed, match="a label for each question"):
        list(read(iter(sources), part="train", fold=0))
