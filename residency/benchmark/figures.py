"""A figure with its sample count and interval, for any score that is a function of sums.

Accuracies, means, F1s from counts, geometric means: each is computed from a few sums over
questions. One row of parts a question is then enough to resample the score thousands of times
with one matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from residency import stats

LEVEL = 0.95
RESAMPLES = 2000
CHUNK = 1 << 22
"""How many weights of a resample are held at a time."""

Array = NDArray[np.float64]
Statistic = Callable[[Array, int], Array]
"""(sums of the parts, one row a resample; n) → the score of each resample."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One score."""

    name: str
    value: float | None
    """None where nothing was scored."""
    n: int
    """Questions that it is taken over."""
    low: float | None
    """The interval's ends; None where nothing was scored."""
    high: float | None
    method: str
    """`wilson` for a share of questions, `bootstrap` (over questions) for the rest, `none`."""
    level: float = LEVEL

    @property
    def note(self) -> str | None:
        """What a reader must know of it."""
        if self.n == 0:
            return "n=0: there was nothing to score"
        return f"n={self.n}: a small sample" if self.n < stats.SMALL_SAMPLE else None

    def to_json(self) -> dict[str, Any]:
        """The figure as results.json has it."""
        return {
            "metric": self.name,
            "value": self.value,
            "n": self.n,
            "low": self.low,
            "high": self.high,
            "level": self.level,
            "method": self.method,
            "note": self.note,
        }


def average(sums: Array, n: int) -> Array:
    """The mean of the one part."""
    return sums[:, 0] / n


def ratio(sums: Array, n: int) -> Array:
    """The first part's sum over the second's; 0 where that is 0."""
    return divided(sums[:, 0], sums[:, 1])


def divided(above: Array, below: Array) -> Array:
    """Quotients; 0 where the divisor is 0."""
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def figure(
    name: str,
    parts: ArrayLike,
    statistic: Statistic = average,
    *,
    seed: int = 0,
    resamples: int | None = None,
    empty: float | None = None,
) -> Figure:
    """A score with its percentile bootstrap interval over questions.

    B. Efron, "Bootstrap methods: another look at the jackknife", The Annals of Statistics 7
    (1979) 1-26. The same parts and seed give the same interval. Resamples without a finite score
    are left out. A mean of zeros and ones gets a Wilson interval, which the bootstrap would shrink
    to nothing at 0 and 1.

    Args:
        name: The score's name.
        parts: One row a question, shape (n, k); or n numbers.
        statistic: From sums of the parts to scores.
        seed: Of the resampling.
        resamples: How many; 2,000.
        empty: The value where there are no questions.
    """
    table = np.asarray(parts, dtype=np.float64)
    table = table.reshape(len(table), -1) if table.size else table.reshape(len(table), 1)
    n = len(table)
    if n == 0:
        return Figure(name, empty, 0, None, None, "none")
    value = float(statistic(table.sum(axis=0, keepdims=True), n)[0])
    if statistic is average and bool(np.isin(table, (0.0, 1.0)).all()):
        low, high = stats.wilson(round(table.sum()), n, LEVEL)
        return Figure(name, value, n, low, high, "wilson")
    scores = _resampled(table, statistic, resamples or RESAMPLES, seed)
    if not len(scores):
        return Figure(name, value, n, None, None, "none")
    tail = (1 - LEVEL) / 2
    ends = np.quantile(scores, [tail, 1 - tail])
    return Figure(name, value, n, float(ends[0]), float(ends[1]), "bootstrap")


def _resampled(table: Array, statistic: Statistic, resamples: int, seed: int) -> Array:
    """The finite scores of resamples: how often each question is drawn, times its parts."""
    n = len(table)
    draw = np.random.default_rng(seed)
    each = max(1, min(resamples, CHUNK // n))
    found = []
    for start in range(0, resamples, each):
        rows = min(each, resamples - start)
        # np.bincount of row · n + question counts the draws of all rows at once.
        drawn = draw.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        found.append(statistic(weights @ table, n))
    scores = np.concatenate(found)
    return scores[np.isfinite(scores)]


def table(figures: Sequence[Figure]) -> list[str]:
    """The figures as lines of text."""
    width = max((len(one.name) for one in figures), default=0)
    lines = []
    for one in figures:
        interval = "" if one.low is None else f"  95 % {one.low:.4f} to {one.high:.4f}"
        value = "none  " if one.value is None else f"{one.value:.4f}"
        lines.append(f"{one.name:<{width}}  {value}{interval}  n={one.n}")
    return lines
