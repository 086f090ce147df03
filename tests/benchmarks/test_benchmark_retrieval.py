"""The benchmark's recall among fewer others, from the ranking among all."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks import retrieval


class Documents:
    def position(self, pmid: str) -> int:
        return int(pmid)


class Searcher:
    """Two questions, each found behind two others; of the first's two one is among the last."""

    documents = Documents()

    def rank(self, queries: Sequence[str], topk: int, how: str) -> list[list[tuple[int, float]]]:
        found = [[4, 2, 0, 1, 3], [2, 3, 1, 0, 4]]
        return [[(at, 1.0) for at in ranking[:topk]] for ranking in found]


def test_recall_among_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "OTHERS", 3)
    monkeypatch.setattr(retrieval, "CUTS", (1, 2, 3))
    asked = [("a", "0"), ("b", "1")]

    def shares(others: int) -> list[float]:
        found = retrieval.recalls(Searcher(), asked, "dense", "x", others=others)
        return [float(result.value) for result in found]

    assert shares(3) == [0.0, 0.0, 1.0]
    assert shares(2) == [0.0, 0.5, 1.0]  # without document 4
