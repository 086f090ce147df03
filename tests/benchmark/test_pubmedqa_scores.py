"""PubMedQA's figures: the published ones, scikit-learn's, and the official split."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.benchmark import classes, pubmedqa
from residency.benchmark.pubmedqa_split import split
from residency.errors import Missing, RecipeInvalid

FOLDER = "raw.githubusercontent.com/pubmedqa/pubmedqa/1cbae8e92f72f20c8d3747cbb3bf5bc53554d997/data"


@pytest.fixture
def questions(mirror_dir: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((mirror_dir / FOLDER / "ori_pqal.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def truth(mirror_dir: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(
        (mirror_dir / FOLDER / "test_ground_truth.json").read_text(encoding="utf-8")
    )
    return found


@pytest.mark.parametrize(
    ("said", "accuracy", "macro_f1"),
    [
        ("yes", 0.552, 0.2371),
        ("reasoning_free_pred", 0.904, 0.8418),
        ("reasoning_required_pred", 0.780, 0.7219),
    ],
)
def test_published_figures(
    questions: dict[str, Any], truth: dict[str, str], said: str, accuracy: float, macro_f1: float
) -> None:
    predictions = {pmid: questions[pmid].get(said, said) for pmid in truth}
    found = pubmedqa.score(truth, predictions)
    assert found.values()["accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert found.values()["macro_f1"] == pytest.approx(macro_f1, abs=5e-5)
    assert {figure.n for figure in found.figures} == {500}
    assert not found.problems


LABEL = st.sampled_from(["yes", "no", "maybe"])


@given(st.lists(st.tuples(LABEL, LABEL), min_size=1, max_size=40))
def test_scikit_learn_agrees(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

    gold, said = zip(*pairs, strict=True)
    found = {one.name: one.value for one in classes.figures(pairs, pubmedqa.LABELS)}
    assert found["accuracy"] == pytest.approx(accuracy_score(gold, said))
    assert found["macro_f1"] == pytest.approx(f1_score(gold, said, average="macro"))
    known = classes.classes(pairs, pubmedqa.LABELS)
    each = precision_recall_fscore_support(gold, said, labels=known, zero_division=0)
    for place, label in enumerate(known):
        wanted = [each[kind][place] for kind in range(3)]
        assert [found[f"{kind}_{label}"] for kind in ("precision", "recall", "f1")] == pytest.approx(wanted)


def test_an_unread_answer_is_a_miss_and_no_false_alarm() -> None:
    found = {one.name: one.value for one in classes.figures([("yes", "yes"), ("yes", None), ("no", "no")])}
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["precision_yes"] == 1.0
    assert found["recall_yes"] == 0.5
    assert found["f1_no"] == 1.0


def test_what_is_missing_is_wrong_and_named() -> None:
    truth = {"1": "yes", "2": "no", "3": "maybe", "4": "?"}
    found = pubmedqa.score(truth, {"1": " YES ", "2": "it depends", "9": "yes"})
    assert found.values()["accuracy"] == pytest.approx(1 / 3)
    assert found.problems.counts == {
        "a prediction for a PMID that is not in the ground truth; left out": 1,
        "a prediction that is none of yes, no, maybe; counted as wrong": 1,
        "no prediction; counted as wrong": 1,
        "a ground truth that is none of yes, no, maybe; left out": 1,
    }
    assert [row["accuracy"] for row in found.questions] == [1.0, 0.0, 0.0]
    with pytest.raises(RecipeInvalid, match="no PMID"):
        pubmedqa.score({"1": "yes"}, {"2": "yes"})


def test_files(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text('{"1": {"final_decision": "yes"}, "2": "no"}')
    bad.write_text("[]")
    assert pubmedqa.score_files(good, good).values()["accuracy"] == 1.0
    samples = tmp_path / "samples.jsonl"
    answers = [
        {"task": "pubmedqa", "id": f"{n}:pubmedqa", "extracted": said} for n, said in ((1, "yes"), (2, None))
    ]
    samples.write_text("".join(json.dumps(row) + "\n" for row in answers))
    found = pubmedqa.score_files(good, samples)
    assert [row["said"] for row in found.questions] == ["yes", None]
    samples.write_text('{"task": "a"}\n{"task": "b"}\n')
    with pytest.raises(RecipeInvalid, match="several tasks: a, b"):
        pubmedqa.score_files(good, samples)
    with pytest.raises(RecipeInvalid, match="no mapping of PMIDs"):
        pubmedqa.score_files(good, bad)
    with pytest.raises(Missing):
        pubmedqa.score_files(tmp_path / "none.json", good)


def test_the_official_split(questions: dict[str, Any], truth: dict[str, str]) -> None:
    labels = {pmid: record["final_decision"] for pmid, record in questions.items()}
    found = split(labels)
    assert list(found.test) == list(truth)  # the published test set, in its published order
    assert [len(fold) for fold in found.folds] == [50] * 10
    everything = [pmid for fold in found.folds for pmid in fold]
    assert len(set(everything)) == 500
    assert set(everything) == labels.keys() - truth.keys()
    # 276, 169 and 55 over ten: each fold gets a tenth, rounded up, and gives one question to the last.
    for fold in found.folds[:-1]:
        counts = Counter(labels[pmid] for pmid in fold)
        assert sorted(
            28 * (label == "yes") + 17 * (label == "no") + 6 * (label == "maybe") - n
            for label, n in counts.items()
        ) == [0, 0, 1]
