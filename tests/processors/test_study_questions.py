from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from processors import pubmed
from processors.study_questions import QUESTIONS, make, prompt_text
from residency.errors import RecipeInvalid
from residency.processing import Report


def record(
    pmid: str, mesh: tuple[str, ...], types: tuple[str, ...] = ("Journal Article",), **given: Any
) -> Any:
    return {
        "pmid": pmid,
        "status": "MEDLINE",
        "title": "A study",
        "abstract": " ".join(f"word{i}" for i in range(40)),
        "mesh": [{"name": name, "ui": "", "major": False, "qualifiers": []} for name in mesh],
        "publication_types": [{"name": name, "ui": ""} for name in types],
        **given,
    }


@pytest.mark.parametrize(
    ("question", "mesh", "types", "expected"),
    [
        ("humans", {"Humans"}, set(), "yes"),
        ("humans", {"Animals", "Rats"}, set(), "no"),
        ("humans", {"Humans", "Animals"}, set(), None),
        ("humans", {"Plants"}, set(), None),
        ("animals", {"Animals"}, set(), "yes"),
        ("animals", {"Humans"}, set(), "no"),
        ("animals", {"Humans", "Animals"}, set(), None),
        ("case_report", {"Humans"}, {"Case Reports"}, "yes"),
        ("case_report", {"Humans"}, {"Journal Article"}, "no"),
        ("case_report", {"Animals"}, {"Case Reports"}, None),
        ("clinical_trial", {"Humans"}, {"Randomized Controlled Trial"}, "yes"),
        ("clinical_trial", {"Humans"}, {"Journal Article"}, "no"),
        ("clinical_trial", {"Humans"}, {"Review"}, None),
        ("review", {"Humans"}, {"Review"}, "yes"),
        ("review", {"Humans"}, {"Journal Article"}, "no"),
        ("females", {"Humans", "Female", "Male"}, set(), "yes"),
        ("females", {"Humans", "Male"}, set(), "no"),
        ("females", {"Humans"}, set(), None),
        ("females", {"Animals", "Female"}, set(), None),
        ("males", {"Humans", "Female"}, set(), "no"),
        ("children", {"Humans", "Infant"}, set(), "yes"),
        ("children", {"Humans", "Adult"}, set(), "no"),
        ("children", {"Humans", "Adolescent"}, set(), "no"),
        ("children", {"Humans"}, set(), None),
        ("aged", {"Humans", "Adult", "Aged"}, set(), "yes"),
        ("aged", {"Humans", "Child"}, set(), "no"),
        ("pregnancy", {"Female", "Pregnancy"}, set(), "yes"),
        ("pregnancy", {"Female"}, set(), "no"),
        ("pregnancy", {"Male"}, set(), None),
        ("in_vitro", {"Animals", "In Vitro Techniques"}, set(), "yes"),
        ("in_vitro", {"Animals"}, set(), "no"),
    ],
)
def test_headings_set_the_answer(
    question: str, mesh: set[str], types: set[str], expected: str | None
) -> None:
    assert QUESTIONS[question].answer(frozenset(mesh), frozenset(types)) == expected


def test_every_question_has_three_wordings_that_differ() -> None:
    for question in QUESTIONS.values():
        assert len(set(question.wordings)) == 3


def mixed(yes: int, no: int) -> list[Any]:
    return [record(f"y{i}", ("Humans",)) for i in range(yes)] + [
        record(f"n{i}", ("Animals",)) for i in range(no)
    ]


def test_labels_are_balanced_and_the_rest_is_counted() -> None:
    report = Report()
    rows = list(make(iter(mixed(30, 12)), per_label=20, report=report))
    assert Counter(row["label"] for row in rows) == {"yes": 12, "no": 12}
    assert (report.read, report.kept) == (42, 24)
    assert report.notes["humans"] == {"yes": 12, "no": 12, "seen": {"yes": 30, "no": 12}}


def test_the_sample_does_not_depend_on_the_order_of_records() -> None:
    rows = mixed(50, 50)
    first = list(make(iter(rows), per_label=10, seed=3))
    random.Random(1).shuffle(rows)
    assert list(make(iter(rows), per_label=10, seed=3)) == first
    assert list(make(iter(rows), per_label=10, seed=4)) != first


def test_a_pmid_that_comes_twice_is_asked_once_about_its_later_version() -> None:
    rows = [record("1", ("Humans",)), record("1", ("Humans",), title="A corrected study"), *mixed(0, 3)]
    made = [row for row in make(iter(rows), per_label=5) if row["pmid"] == "1"]
    assert len(made) == 1
    assert "A corrected study" in made[0]["instruction"]


def test_what_cannot_be_asked_about_is_dropped_with_a_reason() -> None:
    report = Report()
    rows = [
        record("1", ()),
        record("2", ("Humans",), abstract=""),
        record("3", ("Humans",), abstract="too short"),
        record("4", ("Humans",), ("Letter",)),
        record("5", ("Plants",)),
    ]
    assert list(make(iter(rows), report=report)) == []
    assert sum(report.dropped.values()) == 5
    assert len(report.dropped) == 5


def test_wordings_can_be_held_out() -> None:
    rows = mixed(30, 30)
    held_out = QUESTIONS["humans"].wordings[2]
    trained = list(make(iter(rows), per_label=30, wordings=[0, 1], question_first=True))
    tested = list(make(iter(rows), per_label=30, wordings=[2], question_first=True))
    assert not any(held_out in row["instruction"] for row in trained)
    assert all(held_out in row["instruction"] for row in tested)
    assert len({row["instruction"] for row in trained}) == 2


def test_the_question_stands_after_the_text_or_before_it() -> None:
    (after, *_), (before, *_) = (
        list(make(iter(mixed(1, 1)), question_first=first)) for first in (False, True)
    )
    assert (after["instruction"], after["input"]) == (before["input"], before["instruction"])
    assert after["input"].endswith("Answer with exactly <answer>yes</answer> or <answer>no</answer>.")


@pytest.mark.parametrize("status", ["In-Process", "PubMed-not-MEDLINE", "OLDMEDLINE", "Publisher", ""])
def test_no_question_is_made_of_a_record_whose_indexing_is_not_complete(status: str) -> None:
    """It may have a heading or two (an author's, an automatic one), and no other for want of time."""
    rows = [*mixed(3, 3), *(record(f"9{i}", ("Humans",), status=status) for i in range(20))]
    report = Report()
    made = list(make(iter(rows), questions=["case_report"], report=report))
    assert not any(row["pmid"].startswith("9") for row in made)
    assert report.dropped[f"not indexed (status {status or 'not known'})"] == 20
    assert make_of(rows) == make_of(mixed(3, 3))


def make_of(rows: list[Any]) -> list[Any]:
    return list(make(iter(rows), questions=["humans", "animals"]))


def test_a_long_abstract_is_cut() -> None:
    text = prompt_text(record("1", (), abstract="one two three four"), 3)
    assert text == "Title: A study\nAbstract: one two three …"


@pytest.mark.parametrize(
    "given", [{"questions": ["human"]}, {"questions": []}, {"wordings": [3]}, {"wordings": []}]
)
def test_wrong_arguments_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeInvalid):
        list(make(iter([]), **given))


def test_no_heading_reaches_a_prompt(reference_dir: Path) -> None:
    """Nothing but the title and the abstract: each prompt is made of those words alone."""
    path = reference_dir / "pubmed_xml" / "pubmed21n1298_slice500.xml.gz"
    records = {row["pmid"]: row for row in pubmed.read(iter([{"path": str(path), "source": "pubmed"}]))}
    made = list(make(iter(records.values()), questions=list(QUESTIONS), per_label=500, words=10_000))
    assert len({row["question_type"] for row in made}) >= 5
    assert {records[row["pmid"]]["status"] for row in made} == {"MEDLINE"}
    for row in made:
        source = records[row["pmid"]]
        assert (
            row["instruction"]
            == f"Title: {source['title']}\nAbstract: {' '.join(source['abstract'].split())}"
        )
        assert (
            QUESTIONS[row["question_type"]].answer(
                frozenset(h["name"] for h in source["mesh"]),
                frozenset(t["name"] for t in source["publication_types"]),
            )
            == row["label"]
        )


def test_the_title_alone_for_those_who_look_up() -> None:
    rows = [record(str(at), ("Humans",) if at % 2 else ("Animals",), title=f"Study {at}") for at in range(8)]
    for row in make(iter(rows), per_label=2, title_only=True):
        assert row["instruction"] == f"Title: Study {row['pmid']}"
        assert "word1" not in row["instruction"] + row["input"]
        assert row["label"] == ("yes" if int(row["pmid"]) % 2 else "no")
