"""TrialPanorama's questions and their scores."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import trialpanorama
from residency.benchmark.trialpanorama import answers, questions, task
from residency.errors import Missing
from residency.paths import PROJECT
from residency.processing import Report
from residency.retrieval.boolean.engine import Found, QueryRejected, SearchUnavailable


def doc(gold: Any) -> dict[str, Any]:
    return {"answer": json.dumps(gold), "settings": "{}"}


@pytest.mark.parametrize(
    ("said", "right"),
    [(100, 1), (80, 1), (120, 1), (79, 0), (121, 0), ('"1e2"', 1)],
)
def test_sample_sizes_within_a_fifth(said: Any, right: float) -> None:
    found = task.size(doc({"target": 100}), [f'{{"sample_size_needed": {said}}}'])
    assert found.pop("readings")[0][0] is not None
    assert found == {"accuracy": right, "accuracy_lenient": right, "unreadable": 0, "unreadable_lenient": 0}


def test_choices() -> None:
    asked = doc({"answer": "B", "options": {"A": "x", "B": "y"}})
    assert task.choice(asked, ['{"answer_choice": "B"}'])["accuracy"] == 1.0
    found = task.choice(asked, ["(B) y"])
    assert (found["accuracy"], found["accuracy_lenient"], found["unreadable"]) == (0.0, 1.0, 1.0)


def test_several_answers_are_averaged() -> None:
    asked = doc({"answer": "B", "options": {"A": "x", "B": "y"}})
    found = task.choice(asked, [['{"answer_choice": "B"}', '{"answer_choice": "A"}', "?", "?"]])
    assert found["accuracy"] == 0.25
    assert found["unreadable"] == 0.5


SCREEN = doc({"labels": {"1": "included", "2": "included", "3": "excluded", "4": "excluded"}})


def decided(**decisions: str) -> str:
    return json.dumps({"results": [{"PMID": key[1:], "decision": value} for key, value in decisions.items()]})


def test_screening_by_hand() -> None:
    one = task.screening(SCREEN, [decided(p1="included", p2="excluded", p3="included", p4="excluded")])
    assert (one["macro_precision"], one["macro_recall"], one["macro_accuracy"]) == (0.5, 0.5, 0.5)
    two = task.screening(
        SCREEN, [decided(p1="included", p2="included", p3="excluded", p4="excluded", p9="included")]
    )
    assert (two["macro_f1_of_included"], two["all_right"]) == (1.0, 1.0)
    none = task.screening(SCREEN, ["no"])
    assert (none["macro_accuracy"], none["undecided"], none["unreadable"]) == (0.0, 1.0, 1.0)
    counts = [each["micro_f1"] for each in (one, two, none)]
    assert task.micro_precision(counts) == pytest.approx(3 / 4)
    assert task.micro_recall(counts) == pytest.approx(3 / 6)
    assert task.micro_f1(counts) == pytest.approx(0.6)
    assert task.micro_accuracy(counts) == pytest.approx(6 / 12)


DECISION = st.sampled_from(["included", "excluded"])


@settings(max_examples=20)
@given(st.lists(st.lists(st.tuples(DECISION, DECISION), min_size=1, max_size=6), min_size=1, max_size=5))
def test_micro_figures_are_scikit_learns(reviews: list[list[tuple[str, str]]]) -> None:
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    counts = []
    for review in reviews:
        gold = {str(n): label for n, (label, _) in enumerate(review, 1)}
        said = {f"p{n}": label for n, (_, label) in enumerate(review, 1)}
        counts.append(task.screening(doc({"labels": gold}), [decided(**said)])["micro_f1"])
    truth, answer = zip(*[pair for review in reviews for pair in review], strict=True)
    each = precision_recall_fscore_support(truth, answer, labels=["included"], zero_division=0)
    ours = (task.micro_precision(counts), task.micro_recall(counts), task.micro_f1(counts))
    assert ours == pytest.approx([float(values[0]) for values in each[:3]])
    assert task.micro_accuracy(counts) == pytest.approx(accuracy_score(truth, answer))


def test_completion_and_its_reason() -> None:
    ended = doc({"outcome": "terminate", "type": "safety issues"})
    right = task.completion(ended, ['{"outcome": "terminate", "termination_reason": "Safety Issues"}'])
    assert (right["accuracy"], right["type_accuracy"], right["type_accuracy_given_outcome"]) == (1, 1, 1)
    wrong = task.completion(ended, ['{"outcome": "complete"}'])
    assert (wrong["accuracy"], wrong["type_accuracy"]) == (0, 0)
    assert "type_accuracy_given_outcome" not in wrong
    assert wrong["macro_f1"] == ("terminate", "complete")
    done = task.completion(doc({"outcome": "complete", "type": None}), ["complete"])
    assert (done["accuracy"], done["accuracy_lenient"], done["unreadable"]) == (0, 1, 1)
    assert "type_accuracy" not in done


class Search:
    """A search that refuses, fails once, or finds two studies."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def search(self, query: str, **_: object) -> Found:
        self.asked.append(query)
        if query == "((":
            raise QueryRejected("unbalanced", 0, query)
        if query == "slow" and self.asked.count("slow") == 1:
            raise SearchUnavailable("down")
        return Found(2, ("7", "2"), query)


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Iterator[Search]:
    found = Search()
    task.look_up.cache_clear()
    monkeypatch.setattr(task, "engine", lambda index: found)
    yield found
    task.look_up.cache_clear()


def test_study_search(search: Search) -> None:
    asked = doc({"relevant": [2, 3]})
    found = task.search(asked, ['{"query": "asthma"}'])
    assert (found["recall@100"], found["precision@100"], found["map"]) == (0.5, 0.01, 0.25)
    assert (found["refused"], found["unavailable"], found["unreadable"]) == (0, 0, 0)
    task.search(asked, ["<answer>asthma</answer>"])
    assert search.asked == ["asthma"], "a query is looked up once"
    refused = task.search(asked, ['{"query": "(("}'])
    assert (refused["recall@500"], refused["refused"]) == (0.0, 1.0)
    assert task.search(asked, ["one\ntwo"])["unreadable_lenient"] == 1.0
    bare = task.search(asked, ["asthma"])
    assert (bare["recall@100"], bare["recall@100_lenient"], bare["unreadable"]) == (0.0, 0.5, 1.0)


def test_a_failed_look_up_has_no_scores(search: Search) -> None:
    asked = doc({"relevant": [2]})
    assert task.search(asked, ['{"query": "slow"}']) == {
        "unavailable": 1.0,
        "unreadable": 0.0,
        "unreadable_lenient": 0.0,
        "readings": [["slow", "slow"]],
    }
    assert task.search(asked, ['{"query": "slow"}'])["recall@100"] == 1.0, "and is asked again"


# ---- rows


@pytest.mark.parametrize("name", [*questions.TASKS])
def test_the_example_rows(name: str) -> None:
    file = {"study_search": "search"}.get(name, name)
    lines = (PROJECT / "datasets" / f"example_trial_{file}.jsonl").read_text().splitlines()
    report = Report()
    made = list(trialpanorama.questions(map(json.loads, lines), task=name, report=report))  # type: ignore[arg-type]
    assert len(made) == len(lines)
    assert report.dropped == {}
    score = {"sample_size": task.size, "choice": task.choice, "completion": task.completion}
    for row in made:
        assert row["instruction"]
        if name == "screening":
            assert task.screening(doc(row["gold"]), [row["output"]])["all_right"] == 1.0
        elif name == "study_search":
            assert answers.query(row["output"]) == "90000001[uid] OR 90000003[uid]"
        else:
            assert score[name](doc(row["gold"]), [row["output"]])["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        ("study_search", {"inputs": {"a": "b"}, "labels": []}, "no PMIDs"),
        ("study_search", {"inputs": {"a": "b"}, "labels": ["x"]}, "no PMIDs"),
        ("study_search", {"labels": [1]}, "nothing under `inputs`"),
        ("sample_size", {"question": "q", "answer": None}, "no number above 0"),
        ("sample_size", {"question": "q", "answer": "about 5"}, "no number above 0"),
        ("sample_size", {"question": "q", "answer": -1}, "no number above 0"),
        ("sample_size", {"answer": 5}, "no `question`"),
        ("choice", {"question": "q", "options": {"A": "x"}, "answer": "A"}, "fewer than two options"),
        (
            "choice",
            {"question": "q", "options": {"A": "x", "B": "y"}, "answer": "C"},
            "none of the options A, B",
        ),
        ("choice", {"options": {"A": "x", "B": "y"}, "answer": "A"}, "no `question`"),
        ("screening", {"inputs": {"a": "b"}}, "no `labels`"),
        ("screening", {"labels": [{"PMID": 1, "label": "perhaps"}]}, "neither included nor excluded"),
        (
            "screening",
            {"labels": [{"PMID": 1, "label": "included"}, {"PMID": "1", "label": "excluded"}]},
            "both included and excluded",
        ),
        ("screening", {"labels": [{"PMID": 1, "label": "included"}]}, "1 of its 1 labelled studies"),
        ("completion", {"labels": {"outcome": "withdrawn"}}, "neither complete nor terminate"),
        ("completion", {"labels": "complete", "inputs": {"a": 1}}, "neither complete nor terminate"),
    ],
)
def test_rows_that_are_no_question(name: str, row: dict[str, Any], reason: str) -> None:
    report = Report()
    assert list(trialpanorama.questions(iter([row]), task=name, report=report)) == []  # type: ignore[arg-type]
    assert [reason in said for said in report.dropped] == [True]


def test_pmids_of_any_type_and_ids_twice() -> None:
    row = {"id": "a", "inputs": {"x": "y"}, "labels": ["12", 34, "12", 34.0]}
    report = Report()
    (made,) = trialpanorama.questions(iter([row, row]), task="study_search", report=report)
    assert made["gold"] == {"relevant": [12, 34]}
    assert report.dropped == {"an id that was there before": 1}


def test_an_index_is_named_with_its_hash(tmp_path: Path) -> None:
    row = {"id": "a", "inputs": {"x": "y"}, "labels": [1]}
    with pytest.raises(Missing, match="no index"):
        list(trialpanorama.questions(iter([row]), task="study_search", index=str(tmp_path)))
    (tmp_path / "manifest.json").write_text("{}")
    (made,) = trialpanorama.questions(iter([row]), task="study_search", index=str(tmp_path))
    assert made["gold"]["index"] == str(tmp_path)
    assert len(made["gold"]["index_sha256"]) == 64


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.sampled_from(["a", "included", "5"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["PMID", "label", "outcome", "A", "B"]), inner, max_size=3)
    ),
    max_leaves=10,
)
KEYS = ("id", "inputs", "labels", "context", "metadata", "question", "options", "answer")


@given(st.dictionaries(st.sampled_from(KEYS), JSON), st.sampled_from([*questions.TASKS]))
def test_any_row(row: dict[str, Any], name: str) -> None:
    report = Report()
    made = list(trialpanorama.questions(iter([row]), task=name, report=report))  # type: ignore[arg-type]
    assert len(made) + sum(report.dropped.values()) == 1
    json.dumps(made)
