"""Whether one evaluation differs from another: the difference with an interval.

Where both asked the same questions the answers are compared in pairs, which sees far smaller
differences than two intervals side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple, TypeVar

from residency.report.scores import Sample, Score, is_lenient
from residency.stats import bootstrap, macro_f1, mean

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One metric of one task, in two stages of a run."""

    task: str
    metric: str
    before: Score
    after: Score
    before_stage: str
    after_stage: str
    difference: float
    """After less before."""
    low: float | None
    high: float | None
    method: str
    """How the interval was made, in words."""
    paired: bool
    p: float | None = None
    """Of McNemar's exact test where right and wrong answers are compared in pairs, else of the bootstrap."""
    n: int | None = None
    """Questions that were compared in pairs."""
    gained: int | None = None
    """Questions wrong before and right after."""
    lost: int | None = None
    """Questions right before and wrong after."""
    note: str | None = None

    @property
    def clear(self) -> bool:
        """True when the interval leaves out zero, and the exact test agrees where there is one."""
        if self.low is None or self.high is None or not (self.low > 0 or self.high < 0):
            return False
        return self.p is None or self.p <= 1 - self.after.level


def mcnemar(gained: int, lost: int) -> float:
    """The two-sided p of McNemar's exact test: a fair coin thrown once for each changed answer."""
    changed = gained + lost
    if changed == 0:
        return 1.0
    tail = sum(math.comb(changed, k) for k in range(min(gained, lost) + 1))
    return float(min(1.0, tail / 2 ** (changed - 1)))


def tango(gained: int, lost: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The score interval of a difference of two proportions seen in `n` pairs.

    It inverts the score test whose case for no difference is McNemar's, so that it leaves out
    zero exactly when (gained - lost)² / (gained + lost) exceeds z². Tango, Statistics in
    Medicine 17 (1998) 891-908.
    """
    if n <= 0:
        raise ValueError("no pairs")
    z = NormalDist().inv_cdf(0.5 + level / 2)

    def statistic(delta: float) -> float:
        # The share of lost answers that is most likely when the difference is `delta`.
        b = -gained - lost + (2 * n - gained + lost) * delta
        c = -lost * delta * (1 - delta)
        share = (math.sqrt(max(b * b - 8 * n * c, 0.0)) - b) / (4 * n)
        variance = n * (2 * share + delta * (1 - delta))
        distance = gained - lost - n * delta
        if variance <= 0:
            return math.copysign(math.inf, distance) if distance else 0.0
        return distance / math.sqrt(variance)

    def solve(wanted: float, low: float, high: float) -> float:
        # The statistic falls as delta grows.
        for _ in range(80):
            middle = (low + high) / 2
            if statistic(middle) > wanted:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    seen = (gained - lost) / n
    return (solve(z, -1.0, seen) if seen > -1 else -1.0, solve(-z, seen, 1.0) if seen < 1 else 1.0)


class Bootstrapped(NamedTuple):
    """A bootstrap interval of a difference, and how seldom a difference falls on the other side of zero."""

    low: float
    high: float
    p: float


def paired_bootstrap(differences: Sequence[float], level: float = 0.95) -> Bootstrapped:
    """The bootstrap of the mean of `differences`, drawn again 2,000 times at most.

    Fewer draws, never below 200, where there are so many pairs that it would take seconds.
    """
    draws = max(200, min(2000, 4_000_000 // max(len(differences), 1)))
    return _bootstrapped(list(differences), mean, draws, level)


def f1_bootstrap(pairs: Sequence[tuple[Sample, Sample]], level: float = 0.95) -> Bootstrapped:
    """The bootstrap of the gain in macro F1 over questions that both stages answered."""
    draws = max(200, min(2000, 1_000_000 // max(len(pairs), 1)))
    return _bootstrapped(
        list(pairs), lambda drawn: _f1(a for _, a in drawn) - _f1(b for b, _ in drawn), draws, level
    )


def _bootstrapped(
    values: list[T], statistic: Callable[[list[T]], float], draws: int, level: float
) -> Bootstrapped:
    """The percentile interval, and p: twice the smaller share of the draws on one side of zero.

    A draw of zero counts for both sides. One draw is added to each side, so that p is never nought
    (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2).
    """
    seen: list[float] = []

    def noted(drawn: list[T]) -> float:
        seen.append(statistic(drawn))
        return seen[-1]

    found = bootstrap(values, noted, resamples=draws, level=level)
    below, above = sum(x <= 0 for x in seen), sum(x >= 0 for x in seen)
    return Bootstrapped(found.low, found.high, min(1.0, 2 * (min(below, above) + 1) / (len(seen) + 1)))


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values corrected for there being several: none of a true null is below α more often than α.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979) 65-70.
    """
    order = sorted(range(len(ps)), key=ps.__getitem__)
    found, most = [1.0] * len(ps), 0.0
    for place, which in enumerate(order):
        most = max(most, min(1.0, (len(ps) - place) * ps[which]))
        found[which] = most
    return found


def _f1(answers: Iterable[Sample]) -> float:
    return macro_f1((s.target, None if s.unreadable else s.extracted) for s in answers)


def unpaired(before: Score, after: Score) -> tuple[float, float] | None:
    """The interval of a difference from the two scores' own intervals, taken as independent.

    Square-and-add of the distances to the limits: Newcombe, Statistics in Medicine 17 (1998)
    873-890, method 10; Zou and Donner, ibid. 27 (2008) 1693-1702.
    """
    if before.low is None or before.high is None or after.low is None or after.high is None:
        return None
    difference = after.value - before.value
    down = math.hypot(after.value - after.low, before.high - before.value)
    up = math.hypot(after.high - after.value, before.value - before.low)
    return difference - down, difference + up


def _pairs(
    before: Sequence[Sample], after: Sequence[Sample], shared: bool
) -> tuple[list[tuple[Sample, Sample]], str | None]:
    """The answers to the same questions, or none; and what is to be said of it."""
    if not before or not after:
        return [], "no sample answers to pair"
    first, second = ({s.id: s for s in rows} for rows in (before, after))
    if len(first) != len(before) or len(second) != len(after):
        return [], "sample ids repeat"
    same = [key for key in first if key in second]
    if first.keys() != second.keys() and not (shared and same):
        return [], f"the questions differ: {len(same)} of {len(first)} and {len(second)} in common"
    if any(first[key].target != second[key].target for key in same):
        return [], "the same ids stand for different questions"
    note = None
    if len(same) < max(len(first), len(second)):
        note = f"only the {len(same):,} questions that both asked, of {len(first):,} and {len(second):,}"
    return [(first[key], second[key]) for key in same], note


def _reading(metric: str, samples: Sequence[Sample]) -> Callable[[Sample], float] | None:
    """How one answer's figure is read for a metric that is a mean over answers; None where it cannot be."""
    if all(metric in s.values for s in samples):
        return lambda s: s.values[metric]
    if is_lenient(metric):
        known = all(s.lenient is not None for s in samples)
        return (lambda s: float(bool(s.lenient))) if known else None
    known = all(s.correct is not None for s in samples)
    return (lambda s: float(bool(s.correct))) if known else None


def compare(
    before_stage: str,
    before: Score,
    before_samples: Sequence[Sample],
    after_stage: str,
    after: Score,
    after_samples: Sequence[Sample],
    *,
    shared: bool = False,
) -> Comparison:
    """Compare one metric of one task. The samples are those of this task alone.

    Right-or-wrong metrics of the same questions: Tango's interval and McNemar's exact test.
    Macro F1, and other metrics that stand in the samples: paired bootstrap. Else the two intervals are
    taken as independent.

    Args:
        before_stage: The name of the first.
        before: Its score.
        before_samples: Its answers.
        after_stage: The name of the second.
        after: Its score.
        after_samples: Its answers.
        shared: Where they did not ask the same questions, compare those that both asked; the scores
            of the comparison are then those of these questions.
    """
    level = after.level
    pairs, note = _pairs(before_samples, after_samples, shared)
    one = Comparison(
        task=after.task,
        metric=after.metric,
        before=before,
        after=after,
        before_stage=before_stage,
        after_stage=after_stage,
        difference=after.value - before.value,
        low=None,
        high=None,
        method="no interval",
        paired=False,
        note=note,
    )
    if pairs:
        found = _paired(one, pairs, (before_samples, after_samples), level)
        if found is not None:
            return found
        one = replace(one, note="the samples do not hold this metric")
    limits = unpaired(before, after)
    if limits is None:
        return one
    return replace(one, low=limits[0], high=limits[1], method="not paired: from the two intervals")


def _paired(
    one: Comparison,
    pairs: Sequence[tuple[Sample, Sample]],
    samples: tuple[Sequence[Sample], Sequence[Sample]],
    level: float,
) -> Comparison | None:
    """The comparison in pairs; None where the samples do not give this metric."""
    metric = one.metric.partition(",")[0]

    def agrees(means: tuple[float, float]) -> bool:
        # The samples speak of this metric only when their mean is the score (which may be rounded).
        return abs(means[0] - one.before.value) < 1e-3 and abs(means[1] - one.after.value) < 1e-3

    if metric == "macro_f1" and agrees((_f1(samples[0]), _f1(samples[1]))):
        values = (_f1(b for b, _ in pairs), _f1(a for _, a in pairs))
        return _by_bootstrap(_with(one, values, len(pairs)), f1_bootstrap(pairs, level))
    read = _reading(one.metric, [*samples[0], *samples[1]])
    if read is None or not agrees((mean(map(read, samples[0])), mean(map(read, samples[1])))):
        return None
    values = (mean(read(b) for b, _ in pairs), mean(read(a) for _, a in pairs))
    made = _with(one, values, len(pairs))
    # A bootstrapped score is no share of right answers, though it may be equal to one by chance.
    binary = all(read(s) in (0.0, 1.0) for pair in pairs for s in pair)
    in_samples = all(one.metric in s.values for pair in pairs for s in pair)
    if binary and "bootstrap" not in (one.before.method, one.after.method):
        gained = sum(read(a) > read(b) for b, a in pairs)
        lost = sum(read(b) > read(a) for b, a in pairs)
        low, high = tango(gained, lost, len(pairs), level)
        how = "paired: Tango's score interval, McNemar's exact test"
        p = mcnemar(gained, lost)
        return replace(made, low=low, high=high, method=how, p=p, gained=gained, lost=lost)
    if not in_samples:
        return None
    return _by_bootstrap(made, paired_bootstrap([read(a) - read(b) for b, a in pairs], level))


def _with(one: Comparison, values: tuple[float, float], n: int) -> Comparison:
    """The comparison over `n` pairs; where these are not all questions, with the scores of those."""
    whole = one.note is None
    before = one.before if whole else replace(one.before, value=values[0], n=n, low=None, high=None)
    after = one.after if whole else replace(one.after, value=values[1], n=n, low=None, high=None)
    difference = after.value - before.value
    return replace(one, before=before, after=after, difference=difference, n=n, paired=True)


def _by_bootstrap(one: Comparison, found: Bootstrapped) -> Comparison:
    if found.low == found.high:
        why = "every draw gave the same, so the interval says nothing of other questions"
        return replace(one, method="paired bootstrap", note=why)
    return replace(one, low=found.low, high=found.high, p=found.p, method="paired bootstrap")
