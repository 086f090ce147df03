"""Rows to questions, answers to scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from residency.engines.lm_eval import questions

LABELS = ("yes", "no")


def row(**more: Any) -> dict[str, Any]:
    return {"instruction": "Human?", "input": "Rats.", "output": "<answer>no</answer>", **more}


def test_the_prompt_is_joined_as_in_training() -> None:
    found = questions.question(row(system="Be brief.", pmid=12, question_type="humans"), LABELS, 3)
    assert found == {"id": "12:humans", "system": "Be brief.", "question": "Human?\nRats.", "answer": "no"}
    assert questions.question(row(input=None), LABELS, 1)["question"] == "Human?"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"id": 7}, "7"), ({"pmid": "12"}, "12"), ({"question_type": "x"}, "5"), ({}, "5"), ({"id": 0}, "0")],
)
def test_identity(given: dict[str, Any], expected: str) -> None:
    assert questions.identity(given, 5) == expected


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (["a"], "not a mapping"),
        ({"input": "x"}, "lacks instruction and output"),
        (row(output="  "), "lacks output"),
        (row(output="no"), r"no <answer>…</answer> with one of yes, no: 'no'"),
        (row(output="<answer>maybe</answer>"), "with one of yes, no"),
        (row(label="yes"), "answers 'no' but its label is 'yes'"),
    ],
)
def test_rows_that_are_no_questions(bad: Any, message: str) -> None:
    with pytest.raises(questions.BadRow, match=message):
        questions.question(bad, LABELS, 1)


def test_a_label_of_another_kind_is_left_alone() -> None:
    assert questions.question(row(label=0), LABELS, 1)["answer"] == "no"
    assert questions.question(row(label="Animals"), LABELS, 1)["answer"] == "no"


def test_load_jsonl_and_json(tmp_path: Path) -> None:
    lines = tmp_path / "a.jsonl"
    lines.write_text("\ufeff" + json.dumps(row(pmid=1)) + "\n\n" + json.dumps(row(pmid=1)) + "\n", "utf-8")
    assert [item["id"] for item in questions.load(lines, LABELS)] == ["1", "1#3"]
    whole = tmp_path / "a.json"
    whole.write_text(" \n" + json.dumps([row(), row()]))
    assert [item["id"] for item in questions.load(whole, LABELS)] == ["1", "2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("{}\n", "row 1: it lacks"),
        ('{"a": 1}\n{"b"\n', "row 1: it lacks"),
        ("[1, 2", "not JSON"),
        (json.dumps(row()) + "\n{broken\n", "line 2 is not JSON"),
    ],
)
def test_load_names_the_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(questions.BadRow, match=message) as caught:
        questions.load(path, LABELS)
    assert str(path) in str(caught.value)


def test_scores() -> None:
    doc = {"answer": "no", "labels": ["yes", "no"], "mode": "strict"}
    assert questions.score(doc, ["<answer>no</answer>"]) == {
        "accuracy": 1.0,
        "macro_f1": ("no", "no"),
        "unreadable": 0.0,
    }
    assert questions.score(doc, ["no."]) == {"accuracy": 0.0, "macro_f1": ("no", None), "unreadable": 1.0}
    assert questions.choose(doc, [(-2.0, False), (-1.5, True)])["accuracy"] == 1.0
    assert questions.choose(doc, [(-1.0, False), (-1.0, False)])["macro_f1"] == ("no", "yes")


def test_rows_refuses_an_unknown_way_of_reading(tmp_path: Path) -> None:
    with pytest.raises(questions.BadRow, match="strict or lenient"):
        questions.rows(data_files={}, labels=LABELS, answer="loose")  # type: ignore[arg-type]
