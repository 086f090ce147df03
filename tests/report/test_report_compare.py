from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.report.compare import compare, mcnemar, paired_bootstrap, tango, unpaired
from residency.report.scores import Sample, Score


def sample(identity: int, correct: bool, target: str = "yes", **values: float) -> Sample:
    return Sample("t", str(identity), "?", target, "", None, correct, False, values)


def score(
    value: float, low: float | None = None, high: float | None = None, metric: str = "accuracy"
) -> Score:
    return Score("t", metric, value, 100, low, high)


def test_tango_gives_a_published_interval() -> None:
    # Airway reactivity before and after transplantation: 7 and 1 changed of 21 pairs.
    # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875: 0.026 to 0.517.
    low, high = tango(7, 1, 21)
    assert (round(low, 3), round(high, 3)) == (0.026, 0.517)


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.data())
@settings(max_examples=150, deadline=None)
def test_tango_holds_the_estimate_and_agrees_with_mcnemar(pair: tuple[int, int], data: st.DataObject) -> None:
    gained, n = pair
    lost = data.draw(st.integers(0, n - gained))
    low, high = tango(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    mirrored = tango(lost, gained, n)
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)
    squared = (gained - lost) ** 2 / (gained + lost) if gained + lost else 0.0
    if abs(squared - 1.959964**2) > 1e-6:
        assert (low > 0 or high < 0) == (squared > 1.959964**2)


def test_tango_covers_the_true_difference() -> None:
    draw = random.Random(3)
    gain, loss, n, held = 0.30, 0.12, 60, 0
    for _ in range(1000):
        throws = [draw.random() for _ in range(n)]
        gained = sum(t < gain for t in throws)
        lost = sum(gain <= t < gain + loss for t in throws)
        low, high = tango(gained, lost, n)
        held += low <= gain - loss <= high
    assert 0.925 < held / 1000 < 0.975


@pytest.mark.parametrize(
    ("gained", "lost", "p"), [(0, 0, 1.0), (5, 5, 1.0), (10, 0, 2 / 2**10), (1, 7, 2 * 9 / 2**8)]
)
def test_mcnemar_is_the_binomial_test(gained: int, lost: int, p: float) -> None:
    assert mcnemar(gained, lost) == pytest.approx(p)
    assert mcnemar(lost, gained) == pytest.approx(p)


def test_mcnemar_of_many_changes_does_not_overflow() -> None:
    assert 0 <= mcnemar(3000, 1000) < 1e-200


def test_right_and_wrong_of_the_same_questions_are_compared_in_pairs() -> None:
    before = [sample(i, i < 50) for i in range(100)]
    after = [sample(i, i < 40 or i >= 60) for i in range(100)]
    found = compare("b", score(0.5), before, "a", score(0.8), after)
    assert found.paired
    assert (found.gained, found.lost) == (40, 10)
    assert found.difference == pytest.approx(0.3)
    assert (found.low, found.high) == tango(40, 10, 100)
    assert found.clear
    assert "Tango" in found.method


def test_a_difference_is_clear_only_where_the_exact_test_agrees() -> None:
    # 15 gained and 6 lost of 100: the score interval just leaves out zero, McNemar's p is 0.078.
    before = [sample(i, i < 6 or i >= 21) for i in range(100)]
    after = [sample(i, i >= 6) for i in range(100)]
    found = compare("b", score(0.85), before, "a", score(0.94), after)
    assert (found.gained, found.lost) == (15, 6)
    assert found.low is not None
    assert found.low > 0
    assert found.p == pytest.approx(0.078, abs=0.001)
    assert not found.clear


def answers(told: str, truth: str) -> list[Sample]:
    """One answer a letter; `-` could not be read."""
    return [
        Sample("t", str(i), "?", want, "", None if said == "-" else said, said == want, said == "-", {})
        for i, (said, want) in enumerate(zip(told, truth, strict=True))
    ]


def test_macro_f1_is_compared_by_paired_bootstrap() -> None:
    truth = "ynm" * 40
    before, after = answers("yy-" * 40, truth), answers("ynm" * 30 + "nnn" * 10, truth)
    # By class: y 2·40/(80+40), n and m none; then y 2·30/70, n 2·40/(60+40), m 2·30/70.
    first, second = (2 / 3 + 0 + 0) / 3, (60 / 70 + 80 / 100 + 60 / 70) / 3
    found = compare(
        "b", score(first, metric="macro_f1"), before, "a", score(second, metric="macro_f1"), after
    )
    assert found.method == "paired bootstrap"
    assert found.low is not None
    assert found.high is not None
    assert 0.5 < found.low < second - first < found.high < 0.75


def test_a_bootstrapped_score_is_never_taken_for_a_share() -> None:
    none = answers("---" * 20, "ynm" * 20)
    zero = replace(score(0.0, 0.0, 0.0, "macro_f1"), method="bootstrap")
    found = compare("b", zero, none, "a", zero, none)
    assert (found.p, found.gained, found.low) == (None, None, None)
    assert "every draw gave the same" in str(found.note)
    other = replace(zero, metric="rouge")
    assert not compare("b", other, none, "a", other, none).paired


def test_answers_that_nobody_judged_are_not_compared_as_right_or_wrong() -> None:
    before = [replace(sample(i, False), correct=None) for i in range(50)]
    found = compare("b", score(0.0), before, "a", score(0.0), before)
    assert not found.paired


def test_samples_that_do_not_make_the_score_are_not_used_for_it() -> None:
    # The score is a macro F1, which right and wrong answers do not give.
    before, after = ([sample(i, i < k) for i in range(100)] for k in (50, 80))
    found = compare("b", score(0.41, 0.3, 0.5, "f1"), before, "a", score(0.7, 0.6, 0.8, "f1"), after)
    assert not found.paired
    assert found.p is None
    assert found.note == "the samples do not hold this metric"


def test_a_metric_in_the_samples_is_compared_by_paired_bootstrap() -> None:
    draw = random.Random(1)
    base = [draw.random() for _ in range(200)]
    before = [sample(i, True, rouge=v) for i, v in enumerate(base)]
    after = [sample(i, True, rouge=v + 0.05 + draw.gauss(0, 0.01)) for i, v in enumerate(base)]
    means = [math.fsum(s.values["rouge"] for s in rows) / 200 for rows in (before, after)]
    found = compare("b", score(means[0], metric="rouge"), before, "a", score(means[1], metric="rouge"), after)
    assert found.method == "paired bootstrap"
    assert found.low is not None
    assert found.high is not None
    # The standard error of the mean is 0.01/√200, so the interval is some ±0.0014 wide.
    assert 0.002 < found.high - found.low < 0.004
    assert found.low < 0.05 < found.high


@pytest.mark.parametrize(
    ("after", "note"),
    [
        ([sample(i, True) for i in range(50, 150)], "50 of 100 and 100 in common"),
        ([sample(i, True, target="no") for i in range(100)], "different questions"),
        ([sample(0, True)] * 100, "ids repeat"),
        ([], "no sample answers"),
    ],
)
def test_other_questions_are_never_paired(after: list[Sample], note: str) -> None:
    before = [sample(i, i < 50) for i in range(100)]
    found = compare("b", score(0.5, 0.4, 0.6), before, "a", score(1.0, 0.96, 1.0), after)
    assert not found.paired
    assert found.gained is None
    assert note in str(found.note)
    assert found.low == pytest.approx(0.5 - math.hypot(0.04, 0.1))
    assert found.high == pytest.approx(0.5 + math.hypot(0.0, 0.1))


def test_without_intervals_nothing_is_said() -> None:
    found = compare("b", score(0.5), [], "a", score(0.6), [])
    assert (found.low, found.high, found.clear) == (None, None, False)
    assert unpaired(score(0.5), score(0.6, 0.5, 0.7)) is None


def test_bootstrap_is_the_same_every_time() -> None:
    values = [0.1, -0.2, 0.4, 0.0, 0.3]
    assert paired_bootstrap(values) == paired_bootstrap(values)
    assert paired_bootstrap([0.25] * 30)[:2] == (0.25, 0.25)
