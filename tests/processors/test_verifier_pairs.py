from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.verifier_pairs import CONTRAST, EVASIVE, WORDINGS, make
from residency.errors import RecipeInvalid
from residency.processing import Report

ROWS = [
    {"question": f"Q{i}?", "answer": name} for i, name in enumerate(("aspirin", "heparin", "insulin", "iron"))
]


def pairs(rows: list[dict[str, Any]], **args: Any) -> list[dict[str, Any]]:
    return list(make(iter(rows), **args))


def test_balanced_and_counted() -> None:
    report = Report()
    found = pairs(ROWS, each=3, report=report)
    assert len(found) == 24
    assert sum(row["label"] for row in found) == 12
    assert (report.read, report.kept) == (4, 24)
    assert report.notes["labels"] == {"right": 12, "wrong": 12}
    assert sum(report.notes["wordings"].values()) == 24


@given(st.integers(0, 50), st.integers(1, 6))
def test_labels_are_true(seed: int, each: int) -> None:
    """Plain wordings name the reference if and only if they are right; the others never deny it."""
    for row in pairs(ROWS, seed=seed, each=each):
        names = [other["answer"] for other in ROWS if other["answer"] in row["response"]]
        if row["wording"] in EVASIVE:
            assert not row["label"]
        elif row["wording"] in CONTRAST:
            assert row["reference"] in names
            assert len(names) == 2
            asserted = row["response"].split("answer is ")[1].split(",")[0].rstrip(".")
            assert (asserted == row["reference"]) == row["label"]
        else:
            assert (names == [row["reference"]]) == row["label"]
            assert len(names) == 1


def test_no_order_changes_them() -> None:
    def as_set(found: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
        return {tuple(row.values()) for row in found}

    assert as_set(pairs(ROWS)) == as_set(pairs(ROWS[::-1]))
    assert as_set(pairs(ROWS)) != as_set(pairs(ROWS, seed=8))


NAMES = {"A": "aspirin", "B": "heparin", "C": "insulin"}


@pytest.mark.parametrize(
    "options",
    [NAMES, list(NAMES.values()), [{"letter": key, "content": name} for key, name in NAMES.items()]],
)
def test_options_by_letter(options: Any) -> None:
    rows = [{"q": "Which?", "idx": "B", "choices": options}, {"q": "What?", "idx": "other"}]
    found = pairs(rows, question="q", answer="idx", options="choices", wordings=["bare"], each=8)
    first = [row for row in found if row["question"] == "Which?"]
    assert {row["reference"] for row in first} == {"heparin"}
    assert {row["response"] for row in first if not row["label"]} == {"aspirin", "insulin"}


def test_rows_that_cannot_be_used() -> None:
    report = Report()
    rows = [
        {"question": "a", "answer": "yes"},
        {"question": "b", "answer": None},
        {"question": "c", "answer": " YES"},
    ]
    assert list(make(iter(rows), report=report)) == []
    assert report.dropped == {"no `answer`": 1, "no wrong answer is known": 2}


def test_wordings() -> None:
    found = pairs(ROWS, wordings=["bare", "unknown"], each=2)
    assert {row["wording"] for row in found if row["label"]} == {"bare"}
    assert {row["wording"] for row in found if not row["label"]} == {"bare", "unknown"}
    with pytest.raises(RecipeInvalid, match="there is no wording `bold_`") as told:
        pairs(ROWS, wordings=["bold_"])
    assert "did you mean `bold`?" in (told.value.hint or "")
    with pytest.raises(RecipeInvalid, match="can be right"):
        pairs(ROWS, wordings=list(EVASIVE))
    assert set(EVASIVE) < set(WORDINGS)
