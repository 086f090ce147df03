from __future__ import annotations

from math import log2
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.benchmark.ranking import pmid, pmids, scores


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (123, 123),
        ("123", 123),
        (" 0123 ", 123),
        ("PMID: 123", 123),
        (123.0, 123),
        (np.int64(123), 123),
        ("123.5", None),
        ("PMC123", None),
        (0, None),
        (-5, None),
        (True, None),
        (None, None),
        ("", None),
        ([], None),
    ],
)
def test_pmids_are_numbers(value: Any, found: int | None) -> None:
    assert pmid(value) == found


def test_numbers_and_texts_and_arrays_compare_equal() -> None:
    assert pmids(np.array([3, 1, 3])) == [3, 1]
    assert scores([1, 2], ["1", "2"]) == scores(["1", "2"], np.array([1, 2]))


def test_a_small_list_by_hand() -> None:
    found = scores([1, 2, 3], [1, 9, 2], cuts=(2, 5))
    assert found["precision@2"] == 0.5
    assert found["recall@2"] == pytest.approx(1 / 3)
    assert found["f1@2"] == pytest.approx(0.4)
    assert found["precision@5"] == pytest.approx(2 / 5)  # over k, although three were found
    assert found["map"] == pytest.approx((1 + 2 / 3) / 3)
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert found["ndcg@5"] == pytest.approx((1 + 1 / log2(4)) / ideal)


def test_the_cuts_of_the_benchmark() -> None:
    found = scores(range(1, 151), range(1, 1001))
    assert found["precision@100"] == 1.0
    assert found["recall@100"] == pytest.approx(100 / 150)
    assert found["precision@500"] == pytest.approx(0.3)
    assert found["ndcg@300"] == found["map"] == pytest.approx(1.0)


def test_nothing_relevant() -> None:
    with pytest.raises(ValueError, match="no relevant"):
        scores(["x"], [1])
    with pytest.raises(ValueError, match="a cut is 0"):
        scores([1], [1], cuts=(0,))


IDS = st.lists(st.integers(1, 30), max_size=25)


@given(IDS.filter(bool), IDS, st.integers(1, 40))
def test_scikit_learn_agrees(relevant: list[int], found: list[int], k: int) -> None:
    from sklearn.metrics import average_precision_score, ndcg_score

    ours = scores(relevant, found, cuts=(k,))
    assert all(0 <= value <= 1 + 1e-12 for value in ours.values())
    # The list, with all that it leaves out behind: what is behind must not gain anything, so that
    # average precision is compared where everything relevant was found.
    ranked = list(dict.fromkeys(found))
    rest = sorted(set(range(1, 31)) - set(ranked))
    order = ranked + rest
    truth = [[float(one in set(relevant)) for one in order]]
    score = [[float(-place) for place in range(len(order))]]
    if set(relevant) <= set(ranked):
        assert ours["map"] == pytest.approx(average_precision_score(truth[0], score[0]))
        assert ours[f"ndcg@{k}"] == pytest.approx(ndcg_score(truth, score, k=k))


@given(IDS.filter(bool), IDS)
def test_more_recall_with_a_higher_cut(relevant: list[int], found: list[int]) -> None:
    ours = scores(relevant, found, cuts=(1, 3, 10, 30))
    recalls = [ours[f"recall@{k}"] for k in (1, 3, 10, 30)]
    assert recalls == sorted(recalls)
    assert scores(relevant, relevant)["map"] == pytest.approx(1.0)
