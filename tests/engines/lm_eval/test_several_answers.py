"""pass@k and the majority, of questions that were answered more than once."""

from __future__ import annotations

from typing import Any

import pytest

from residency.engines.lm_eval import results


def sample(said: list[str | None], answer: str = "a", **doc: Any) -> dict[str, Any]:
    right = sum(one == answer for one in said) / len(said)
    return {
        "doc": {"answer": answer, **doc},
        "accuracy": right,
        "unreadable": sum(one is None for one in said) / len(said),
        "readings": [[one, one] for one in said],
        "resps": [list(said)],
        "filter": "none",
    }


def test_figures() -> None:
    found = [sample(["a", "b", "b", None]), sample(["b", "a", "a", "b"]), sample([None] * 4)]
    figures = {row["metric"]: row for row in results.several("t", found, limited=False)}
    assert list(figures) == ["pass@1", "pass@2", "pass@4", "maj@4"]
    assert figures["pass@2"]["value"] == pytest.approx((1 - 3 / 6 + 1 - 1 / 6 + 0) / 3)
    assert figures["pass@4"]["value"] == pytest.approx(2 / 3)
    assert figures["maj@4"]["value"] == 0.0, "of two votes each the first given wins"
    assert figures["maj@4"] | {"low": 0, "high": 0} == {
        **{"task": "t", "metric": "maj@4", "value": 0.0, "n": 3, "low": 0, "high": 0, "level": 0.95},
        **{"method": "wilson", "unreadable": 5, "limited": False, "note": "n=3: a small sample"},
    }


def test_without_a_label_there_is_no_vote() -> None:
    found = [sample(["a", "b"], label="")]
    assert [row["metric"] for row in results.several("t", found, limited=False)] == ["pass@1", "pass@2"]


def test_one_answer_each_has_no_more_figures() -> None:
    assert results.several("t", [sample(["a"])], limited=False) == []
    assert results.several("t", [{"doc": {}, "f1": 1.0}], limited=False) == []
    assert results.several("t", [], limited=False) == []
