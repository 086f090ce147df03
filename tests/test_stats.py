"""Intervals and F1 against published and independently computed values."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency import stats

PUBMEDQA = "raw.githubusercontent.com/pubmedqa/pubmedqa/1cbae8e92f72f20c8d3747cbb3bf5bc53554d997/data"


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I
        (15, 148, 0.0624, 0.1605),  # the same
        (0, 20, 0.0, 0.1611),  # the same
        (1, 29, 0.0061, 0.1718),  # the same
    ],
)
def test_wilson_known_values(successes: int, n: int, low: float, high: float) -> None:
    found = stats.wilson(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = stats.wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    mirrored = stats.wilson(n - successes, n)
    assert math.isclose(low, 1 - mirrored.high, abs_tol=1e-12)
    # It solves |p̂ - p| = z·√(p(1-p)/n), which is how Wilson defined it.
    z = 1.959963984540054
    for p in (low, high):
        if 0 < p < 1:
            assert math.isclose(abs(successes / n - p), z * math.sqrt(p * (1 - p) / n), rel_tol=1e-6)


def test_wilson_wider_at_a_higher_level() -> None:
    narrow, wide = stats.wilson(30, 50, 0.9), stats.wilson(30, 50, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("successes", "n", "level"), [(1, 0, 0.95), (-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0)]
)
def test_wilson_refuses(successes: int, n: int, level: float) -> None:
    with pytest.raises(ValueError, match="no Wilson interval"):
        stats.wilson(successes, n, level)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.floats(0, 1))
def test_quantile_is_numpys(values: list[float], q: float) -> None:
    import numpy

    ordered = sorted(values)
    assert math.isclose(stats.quantile(ordered, q), float(numpy.quantile(ordered, q)), abs_tol=1e-6)


def test_bootstrap_is_repeatable_and_near_the_exact_interval() -> None:
    values = [1.0] * 80 + [0.0] * 20
    first = stats.bootstrap(values, stats.mean, resamples=4000, seed=3)
    assert first == stats.bootstrap(values, stats.mean, resamples=4000, seed=3)
    assert first != stats.bootstrap(values, stats.mean, resamples=4000, seed=4)
    # The binomial's own 2.5 % and 97.5 % points for n=100, p=0.8 are 72 and 88.
    assert abs(first.low - 0.72) <= 0.01
    assert abs(first.high - 0.87) <= 0.015


def test_bootstrap_leaves_out_what_is_not_finite() -> None:
    values = [1.0, 2.0]
    found = stats.bootstrap(values, lambda v: math.nan if len(set(v)) == 1 else 5.0, resamples=50)
    assert found == (5.0, 5.0)
    with pytest.raises(ValueError, match="not finite"):
        stats.bootstrap(values, lambda v: math.nan, resamples=5)
    with pytest.raises(ValueError, match="no values"):
        stats.bootstrap([], stats.mean)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=40))
def test_macro_f1_is_scikit_learns(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import f1_score

    gold, said = zip(*pairs, strict=True)
    expected = f1_score(gold, said, average="macro", zero_division=0)
    assert math.isclose(stats.macro_f1(pairs), expected, abs_tol=1e-12)


def test_macro_f1_unreadable_is_a_miss_and_no_class() -> None:
    pairs = [("yes", "yes"), ("yes", None), ("no", "no"), ("no", None)]
    assert math.isclose(stats.macro_f1(pairs), 2 / 3)
    assert stats.macro_f1([("yes", None)]) == 0
    with pytest.raises(ValueError, match="no answers"):
        stats.macro_f1([])


def test_confusion_counts_each_class() -> None:
    pairs = [("yes", "yes"), ("yes", None), ("no", "yes"), ("no", "yes")]
    assert stats.confusion(pairs) == {"no": {"yes": 2}, "yes": {"unreadable": 1, "yes": 1}}


def test_pubmedqa_published_figures(mirror_dir: Path) -> None:
    """The majority baseline and the two human performances of Jin et al. (2019), table 4."""
    data = mirror_dir / PUBMEDQA
    truth = json.loads((data / "test_ground_truth.json").read_text())
    rows = json.loads((data / "ori_pqal.json").read_text())
    assert len(truth) == 500

    def figures(answers: dict[str, str]) -> tuple[float, float]:
        pairs = [(truth[pmid], answers[pmid]) for pmid in truth]
        return round(stats.mean(a == b for a, b in pairs), 4), round(stats.macro_f1(pairs), 4)

    assert figures(dict.fromkeys(truth, "yes")) == (0.552, 0.2371)
    assert figures({p: rows[p]["reasoning_free_pred"] for p in truth}) == (0.904, 0.8418)
    assert figures({p: rows[p]["reasoning_required_pred"] for p in truth}) == (0.78, 0.7219)
