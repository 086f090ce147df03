from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency import stats
from residency.benchmark import figures
from residency.benchmark.figures import figure, ratio


def test_the_same_interval_as_resampling_one_by_one() -> None:
    values = list(np.random.default_rng(3).random(60))
    found = figure("x", values, resamples=20_000)
    low, high = stats.bootstrap(values, stats.mean, resamples=5_000)
    assert found.value == pytest.approx(stats.mean(values))
    assert found.low == pytest.approx(low, abs=0.01)
    assert found.high == pytest.approx(high, abs=0.01)
    assert (found.method, found.n) == ("bootstrap", 60)
    assert figure("x", values) == figure("x", values)
    assert figure("x", values, seed=1) != figure("x", values)


def test_shares_get_wilson() -> None:
    found = figure("x", [1.0, 1.0, 1.0])
    assert (found.low, found.high) == stats.wilson(3, 3)
    assert found.method == "wilson"
    assert found.note == "n=3: a small sample"


def test_nothing() -> None:
    found = figure("x", [])
    assert (found.value, found.n, found.low, found.method) == (None, 0, None, "none")
    assert figure("x", np.zeros((0, 2)), ratio, empty=0.0).value == 0.0
    assert figures.table([found]) == ["x  none    n=0"]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=30))
def test_ratios_are_of_sums(parts: list[tuple[int, int]]) -> None:
    found = figure("x", parts, ratio, resamples=50)
    below = sum(b for _, b in parts)
    assert found.value == pytest.approx(sum(a for a, _ in parts) / below if below else 0.0)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.high


def test_many_questions_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = list(np.random.default_rng(1).random(50))
    whole = figure("x", values)
    monkeypatch.setattr(figures, "CHUNK", 170)
    assert figure("x", values).low == pytest.approx(whole.low)
