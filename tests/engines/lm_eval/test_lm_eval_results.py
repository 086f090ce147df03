"""From lm-eval's samples to figures with n and interval."""

from __future__ import annotations

from typing import Any

import pytest

from residency import stats
from residency.engines.lm_eval import questions, results


def sample(doc_id: int, gold: str, said: str, **more: Any) -> dict[str, Any]:
    doc = {"id": f"q{doc_id}", "answer": gold, "labels": ["yes", "no"], "mode": "strict"}
    metrics = questions.score(doc, [said])
    return {
        "doc_id": doc_id,
        "doc": doc,
        "target": gold,
        "arguments": [("prompt", {})],
        "resps": [[said]],
        "filtered_resps": [said],
        "filter": "none",
        "metrics": list(metrics),
        **metrics,
        **more,
    }


YES, NO = "<answer>yes</answer>", "<answer>no</answer>"
FOUND = [sample(2, "no", "hm"), sample(0, "yes", YES), sample(1, "no", YES), sample(3, "no", NO)]
AGGREGATION = {"accuracy": stats.mean, "macro_f1": questions.macro_f1, "unreadable": stats.mean}


def test_samples_in_the_order_of_the_data() -> None:
    rows = results.samples("t", FOUND)
    assert [row["id"] for row in rows] == ["q0", "q1", "q2", "q3"]
    assert [row["correct"] for row in rows] == [True, False, False, True]
    assert [row["extracted"] for row in rows] == ["yes", "yes", None, "no"]
    assert [row["unreadable"] for row in rows] == [False, False, True, False]
    assert rows[2] == {
        "task": "t",
        "id": "q2",
        "prompt": "prompt",
        "target": "no",
        "output": "hm",
        "extracted": None,
        "correct": False,
        "unreadable": True,
    }


def test_scores_of_a_task() -> None:
    accuracy, f1 = results.scores("t", FOUND, AGGREGATION, limited=False)
    low, high = stats.wilson(2, 4)
    assert accuracy == {
        "task": "t",
        "metric": "accuracy",
        "value": 0.5,
        "n": 4,
        "low": low,
        "high": high,
        "level": 0.95,
        "method": "wilson",
        "unreadable": 1,
        "limited": False,
        "note": "n=4: a small sample",
    }
    assert f1["metric"] == "macro_f1"
    assert f1["value"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert f1["method"] == "bootstrap"
    assert f1["low"] < f1["value"] < f1["high"]


@pytest.mark.parametrize(
    ("n", "limited", "note"),
    [
        (20, True, "n=20: a smoke figure, the set was cut by a limit"),
        (500, True, "n=500: a smoke figure, the set was cut by a limit"),
        (99, False, "n=99: a small sample"),
        (100, False, None),
    ],
)
def test_note(n: int, limited: bool, note: str | None) -> None:
    assert results.note(n, limited) == note


def test_a_mean_that_is_no_share_is_bootstrapped() -> None:
    row = results.score("t", "rouge", [0.1, 0.4, 0.5, 0.9], stats.mean)
    assert row["method"] == "bootstrap"
    assert 0.1 <= row["low"] < row["value"] < row["high"] <= 0.9


def test_a_figure_that_cannot_be_resampled_has_no_interval() -> None:
    row = results.score("t", "odd", [("a", 1)], lambda values: float("nan"))
    assert (row["low"], row["high"]) == (None, None)


def choice(doc_id: int, gold: int, likelihoods: list[float]) -> dict[str, Any]:
    """A sample of one of lm-eval's own multiple-choice tasks."""
    best = likelihoods.index(max(likelihoods))
    return {
        "doc_id": doc_id,
        "doc": {"question": "?"},
        "target": gold,
        "arguments": [("Q:", " A"), ("Q:", " B")],
        "resps": [[(x, False)] for x in likelihoods],
        "filtered_resps": [(x, False) for x in likelihoods],
        "filter": "none",
        "metrics": ["acc"],
        "acc": float(best == gold),
    }


def test_lm_evals_own_multiple_choice() -> None:
    found = [choice(0, 1, [-3.0, -1.0]), choice(1, 1, [-0.5, -1.0])]
    rows = results.samples("mc", found)
    assert [(r["target"], r["extracted"], r["correct"], r["id"]) for r in rows] == [
        ("B", "B", True, "0"),
        ("B", "A", False, "1"),
    ]
    (row,) = results.scores("mc", found, {}, limited=True)
    assert (row["metric"], row["value"], row["unreadable"], row["limited"]) == ("acc", 0.5, None, True)


def test_lm_evals_filters_are_figures_of_their_own() -> None:
    base = sample(0, "7", "the answer is 7")
    for key in ("accuracy", "macro_f1", "unreadable"):
        base.pop(key)
    strict = {
        **base,
        "filter": "strict",
        "filtered_resps": ["[invalid]"],
        "metrics": ["exact_match"],
        "exact_match": 0.0,
    }
    loose = {**strict, "filter": "loose", "filtered_resps": ["7"], "exact_match": 1.0}
    figures = results.scores("gsm", [strict, loose], {}, limited=False)
    assert [(f["metric"], f["value"], f["unreadable"]) for f in figures] == [
        ("exact_match,strict", 0.0, 1),
        ("exact_match,loose", 1.0, 0),
    ]
    (row,) = results.samples("gsm", [strict, loose])
    assert (row["unreadable"], row["extracted"], row["correct"]) == (True, None, False)


def test_groups() -> None:
    found = {"a": [choice(0, 1, [-3.0, -1.0])] * 3, "b": [choice(0, 0, [-3.0, -1.0])]}
    members = {"g": ["a", "h"], "h": ["b"]}
    figures = {"g": {"acc,none": 0.75, "acc_stderr,none": 0.1, "alias": "g"}}
    (row,) = results.group_scores(figures, members, found, limited=False)
    assert (row["n"], row["method"], row["value"]) == (4, "wilson", 0.75)
    assert (row["low"], row["high"]) == stats.wilson(3, 4)
    figures = {"g": {"acc,none": 0.5}}  # every task weighs the same
    (row,) = results.group_scores(figures, members, found, limited=False)
    assert (row["low"], row["high"], row["method"], row["value"]) == (None, None, "none", 0.5)


def test_details() -> None:
    assert results.details(FOUND, {"too_long": 2}) == {
        "n": 4,
        "too_long": 2,
        "answers": {"no": {"no": 1, "unreadable": 1, "yes": 1}, "yes": {"yes": 1}},
    }
    assert results.details([choice(0, 1, [-3.0, -1.0])], {"too_long": 0})["answers"] is None
