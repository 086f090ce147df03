from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.rows.split import REST, assign, order_key, problems, split_of


def divide(
    groups: list[int], parts: dict[str, Any], strata: list[Any] | None = None, seed: int = 0
) -> list[str | None]:
    return assign([order_key(seed, g) for g in groups], strata or [None] * len(groups), parts).parts


@settings(max_examples=200, deadline=None)
@given(
    groups=st.lists(st.integers(0, 40), max_size=150),
    train=st.integers(1, 60) | st.floats(0.05, 0.6),
    test=st.integers(1, 60) | st.floats(0.05, 0.4),
    seed=st.integers(0, 5),
    rest=st.booleans(),
)
def test_no_group_in_two_parts_and_counts_are_exact(
    groups: list[int], train: float, test: float, seed: int, rest: bool
) -> None:
    parts: dict[str, Any] = {"train": train, "test": test, **({"left": REST} if rest else {})}
    keys = [order_key(seed, g) for g in groups]
    found = assign(keys, [None] * len(keys), parts)
    where: dict[int, set[str]] = {}
    for group, part in zip(groups, found.parts, strict=True):
        if part is not None:
            where.setdefault(group, set()).add(part)
    assert all(len(names) == 1 for names in where.values())
    got = Counter(found.parts)
    for name, size in parts.items():
        if isinstance(size, int):
            assert got[name] == size or (name in found.short and got[name] < size)
            if name in found.short:
                assert found.short[name] == (got[name], size)


def test_it_depends_on_the_rows_and_not_on_their_order() -> None:
    groups = [i // 3 for i in range(300)]
    parts = {"train": 0.7, "test": 50, "validation": REST}
    first = dict(zip(groups, divide(groups, parts), strict=True))
    shuffled = groups[:]
    random.Random(3).shuffle(shuffled)
    again = divide(shuffled, parts)
    cut = Counter(again)
    assert cut == Counter(divide(groups, parts))
    # All but the one group at which a count was reached keep their part.
    differ = {g for g, part in zip(shuffled, again, strict=True) if part != first[g]}
    assert len(differ) <= 1
    assert first != dict(zip(groups, divide(groups, parts, seed=1), strict=True))


def test_rows_that_are_added_later_move_few_others() -> None:
    before = dict(zip(range(1000), divide(list(range(1000)), {"train": 0.8, "test": 0.2}), strict=True))
    after = dict(zip(range(1010), divide(list(range(1010)), {"train": 0.8, "test": 0.2}), strict=True))
    assert sum(before[i] != after[i] for i in before) <= 10


@pytest.mark.parametrize(
    ("n", "expected"), [(100, {"a": 50, "b": 30, "c": 20}), (7, {"a": 4, "b": 2, "c": 1})]
)
def test_strata_are_spread_evenly(n: int, expected: dict[str, int]) -> None:
    strata = ["a"] * 500 + ["b"] * 300 + ["c"] * 200
    parts = divide(list(range(1000)), {"test": n, "train": REST}, strata)
    got = Counter(s for s, p in zip(strata, parts, strict=True) if p == "test")
    assert got.total() == n
    assert all(abs(got[s] - expected[s]) <= 1 for s in expected)
    assert parts.count("train") == 1000 - n


def test_shares_that_add_up_leave_nothing_over() -> None:
    parts = divide([i // 7 for i in range(100)], {"train": 0.8, "test": 0.2})
    assert None not in parts
    assert 75 <= parts.count("train") <= 86


def test_too_few_rows() -> None:
    found = assign([order_key(0, i) for i in range(10)], [None] * 10, {"train": 20, "test": 5})
    assert found.short == {"train": (10, 20), "test": (0, 5)}
    assert assign([], [], {"train": 1}).short == {"train": (0, 1)}


@pytest.mark.parametrize(
    ("split", "key"),
    [
        ({}, ""),
        ({"by": "pmid"}, ""),
        ({"train": 0.8, "test": 0.3}, ""),
        ({"train": REST, "test": REST}, ""),
        ({"train": 1.5}, "train"),
        ({"train": 0}, "train"),
        ({"train": -3}, "train"),
        ({"train": True}, "train"),
        ({"train": float("nan")}, "train"),
        ({"train": "all"}, "train"),
        ({"train": 5, "seed": "x"}, "seed"),
    ],
)
def test_what_is_wrong_with_a_split(split: dict[str, Any], key: str) -> None:
    assert [k for k, _ in problems(split)] == [key]


def test_sound_splits() -> None:
    for split in (
        {"train": 0.8, "test": 0.2},
        {"train": 400, "test": 100, "by": "pmid", "seed": 7},
        {"test": 1.0},
    ):
        assert problems(split) == []
    found = split_of({"train": 400, "test": REST, "by": "pmid", "stratify": "label"})
    assert (found.parts, found.by, found.seed, found.strata) == (
        {"train": 400, "test": REST},
        "pmid",
        0,
        ("label",),
    )
