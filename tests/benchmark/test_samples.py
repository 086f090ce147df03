from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.benchmark.samples import Sampled, figures
from residency.stats import majority, pass_at_k


@given(st.integers(1, 12), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int, data: st.DataObject) -> None:
    right, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([True] * right + [False] * (n - right), k))
    assert pass_at_k(n, right, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_of_many() -> None:
    assert pass_at_k(2000, 3, 500) == pytest.approx(1 - comb(1997, 500) / comb(2000, 500))


@pytest.mark.parametrize(("n", "right", "k"), [(3, 1, 4), (3, 1, 0), (3, 4, 1), (3, -1, 1)])
def test_pass_at_k_of_nothing(n: int, right: int, k: int) -> None:
    with pytest.raises(ValueError, match="no pass@"):
        pass_at_k(n, right, k)


@pytest.mark.parametrize(
    ("said", "vote"),
    [
        (["a", "b", "b"], "b"),
        (["b", "a", "a", "b"], "b"),  # of equals the first given
        ([None, None, "a"], "a"),
        ([None, None], None),
        ([], None),
    ],
)
def test_majority(said: list[str | None], vote: str | None) -> None:
    assert majority(said) == vote


def test_figures() -> None:
    asked = [
        Sampled("a", ["a", "a", "b", None]),
        Sampled("a", ["b", "a", "b", "b"]),
        Sampled("a", [None, None, None, None]),
    ]
    found = {one.name: one for one in figures(asked, (1, 4))}
    assert found["pass@1"].value == pytest.approx((0.5 + 0.25 + 0) / 3)
    assert found["pass@4"].value == pytest.approx(2 / 3)
    assert found["maj@4"].value == pytest.approx(1 / 3)
    assert found["unreadable"].value == pytest.approx(5 / 12)
    assert found["pass@1"].n == 3
    assert (found["pass@1"].method, found["maj@4"].method) == ("bootstrap", "wilson")
    assert found["pass@1"].low is not None
    with pytest.raises(ValueError, match="question 1 has 4 samples"):
        figures(asked, (5,))
