"""Intervals and scores that say how sure a figure is; pure Python, so that any part may use them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from math import floor, isfinite, sqrt
from statistics import NormalDist
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

SMALL_SAMPLE = 100
"""Below this many samples a figure is called a small-sample figure: at 0.5 its 95 % interval
is wider than ±0.1."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The Wilson score interval of a proportion, without continuity correction.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927) 209-212. Unlike the textbook
    ±1.96·√(p(1-p)/n) it stays within [0, 1] and does not shrink to nothing at 0 or 1.

    Args:
        successes: How many of `n` were right.
        n: How many there were, at least 1.
        level: The confidence level, between 0 and 1.

    Raises:
        ValueError: When `successes` is not in 0..n, `n` is below 1 or `level` is not in (0, 1).
    """
    if n < 1 or not 0 <= successes <= n or not 0 < level < 1:
        raise ValueError(f"no Wilson interval for {successes} of {n} at level {level}")
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / n
    scale = 1 + z * z / n
    middle = (share + z * z / (2 * n)) / scale
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / scale
    # At 0 and n the exact ends are 0 and 1; rounding would leave them at 1e-17.
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return Interval(low, high)


def quantile(ordered: Sequence[float], q: float) -> float:
    """The `q` quantile of ordered values, linear between neighbours (type 7, as numpy's default).

    R. J. Hyndman and Y. Fan, "Sample quantiles in statistical packages", The American
    Statistician 50 (1996) 361-365.
    """
    if not ordered:
        raise ValueError("no quantile of no values")
    place = q * (len(ordered) - 1)
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def bootstrap(
    values: Sequence[T],
    statistic: Callable[[list[T]], float],
    *,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The percentile bootstrap interval of `statistic` over `values`.

    B. Efron, "Bootstrap methods: another look at the jackknife", The Annals of Statistics 7
    (1979) 1-26. The same values and seed give the same interval. Resamples for which the
    statistic is not finite are left out.

    Raises:
        ValueError: When there are no values, or no resample gave a finite statistic.
    """
    if not values:
        raise ValueError("no bootstrap interval for no values")
    draw = random.Random(seed)
    found = [float(statistic(draw.choices(values, k=len(values)))) for _ in range(resamples)]
    finite = sorted(value for value in found if isfinite(value))
    if not finite:
        raise ValueError("the statistic is not finite for any resample")
    tail = (1 - level) / 2
    return Interval(quantile(finite, tail), quantile(finite, 1 - tail))


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean; ValueError when there is nothing."""
    total, n = 0.0, 0
    for value in values:
        total, n = total + float(value), n + 1
    if not n:
        raise ValueError("no mean of nothing")
    return total / n


def macro_f1(pairs: Iterable[tuple[Hashable, Hashable | None]]) -> float:
    """The unweighted mean of the F1 of each class, over (gold, predicted) pairs.

    A prediction of None (an answer that could not be read) is a miss for its gold class and a
    false alarm for none. The classes are those that occur as gold or as prediction, as in
    scikit-learn's `f1_score(average="macro")`; the two agree wherever every answer was read.

    Raises:
        ValueError: When there are no pairs.
    """
    gold: Counter[Any] = Counter()
    predicted: Counter[Any] = Counter()
    right: Counter[Any] = Counter()
    for truth, guess in pairs:
        gold[truth] += 1
        if guess is not None:
            predicted[guess] += 1
            if guess == truth:
                right[truth] += 1
    if not gold:
        raise ValueError("no F1 of no answers")
    classes = gold.keys() | predicted.keys()
    # F1 = 2·TP / (2·TP + FP + FN) = 2·TP / (predicted + gold)
    return sum(2 * right[c] / (gold[c] + predicted[c]) for c in classes) / len(classes)


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that of k answers, drawn from n of which `right` are right, at least one is.

    The unbiased estimator 1 - C(n - right, k) / C(n, k) of M. Chen et al., "Evaluating large
    language models trained on code" (arXiv:2107.03374), as a product that does not overflow.

    Raises:
        ValueError: k is not in 1..n, or `right` not in 0..n.
    """
    if not 1 <= k <= n or not 0 <= right <= n:
        raise ValueError(f"no pass@{k} from {right} right of {n} samples")
    missed = 1.0
    for place in range(k):
        missed *= max(0, n - right - place) / (n - place)
    return 1.0 - missed


def majority(said: Sequence[str | None]) -> str | None:
    """The answer given most often; of equals the one that was given first; None when none was read.

    Answers that could not be read do not vote.
    """
    votes = Counter(one for one in said if one is not None)
    # A Counter keeps the order in which its keys came, and max takes the first of equals.
    return max(votes, key=lambda one: votes[one]) if votes else None


def confusion(
    pairs: Iterable[tuple[str, str | None]], unreadable: str = "unreadable"
) -> dict[str, dict[str, int]]:
    """How often each gold label got each answer: gold → answer → count."""
    table: dict[str, Counter[str]] = {}
    for truth, guess in pairs:
        table.setdefault(truth, Counter())[unreadable if guess is None else guess] += 1
    return {truth: dict(sorted(table[truth].items())) for truth in sorted(table)}
