from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from residency.retrieval.fusion import fuse

RANKINGS = st.lists(st.permutations(range(12)).map(lambda items: items[:8]), min_size=1, max_size=4)


def test_the_formula() -> None:
    found = fuse([["a", "b", "c"], ["b", "d"]], 10)
    assert found == [("b", 1 / 62 + 1 / 61), ("a", 1 / 61), ("d", 1 / 62), ("c", 1 / 63)]
    assert fuse([["a", "b"], ["b", "a"]], 1, k=0) == [("a", 1.5)]
    assert fuse([[], []], 5) == []


@given(RANKINGS)
def test_each_item_once_best_first(rankings: list[list[int]]) -> None:
    found = fuse(rankings, 100)
    assert {item for item, _ in found} == {item for ranking in rankings for item in ranking}
    assert len({item for item, _ in found}) == len(found)
    scores = [score for _, score in found]
    assert scores == sorted(scores, reverse=True)
    assert fuse(rankings, 3) == found[:3]


@given(st.permutations(range(8)))
def test_one_ranking_stays_as_it_is(ranking: list[int]) -> None:
    assert [item for item, _ in fuse([ranking], 8)] == ranking
