"""Reciprocal rank fusion: two or more rankings become one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

K = 60
"""The constant of Cormack, Clarke and Büttcher (SIGIR 2009)."""
_T = TypeVar("_T", bound=Hashable)


def fuse(rankings: Sequence[Sequence[_T]], topk: int, k: int = K) -> list[tuple[_T, float]]:
    """The best of several rankings, by the sum over them of 1 / (k + rank), ranks from 1.

    Items of the same score stand in the order in which they were first met.

    Args:
        rankings: Each best first, without repetitions.
        topk: How many to give at most.
        k: How little the very first places count for.
    """
    scores: dict[_T, float] = {}
    for ranking in rankings:
        for rank, item in enumerate(ranking, 1):
            scores[item] = scores.get(item, 0.0) + 1.0 / (k + rank)
    return sorted(scores.items(), key=lambda pair: -pair[1])[:topk]
