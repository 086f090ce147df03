"""Whether one evaluation differs from another: the difference with an interval.

Where both asked the same questions the answers are compared in pairs, which sees far smaller
differences than two intervals side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from residency.report.scores import Sample, Score
from residency.stats import bootstrap, macro_f1, mean


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
    """McNemar's exact test, where right and wrong answers are compared in pairs."""
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


def paired_bootstrap(differences: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of the mean of `differences`, drawn again 2,000 times at most.

    Fewer draws, never below 200, where there are so many pairs that it would take seconds.
    """
    draws = max(200, min(2000, 4_000_000 // max(len(differences), 1)))
    found = bootstrap(differences, mean, resamples=draws, level=level)
    return found.low, found.high


def f1_bootstrap(pairs: Sequence[tuple[Sample, Sample]], level: float = 0.95) -> tuple[float, float]:
    """The bootstrap interval of the gain in macro F1 over questions that both stages answered."""
    draws = max(200, min(2000, 1_000_000 // max(len(pairs), 1)))
    found = bootstrap(
        pairs,
        lambda drawn: _f1(a for _, a in drawn) - _f1(b for b, _ in drawn),
        resamples=draws,
        level=level,
    )
    return found.low, found.high


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
    before: Sequence[Sample], after: Sequence[Sample]
) -> tuple[list[tuple[Sample, Sample]], str | None]:
    """The answers to the same questions, or none and why they cannot be paired."""
    if not before or not after:
        return [], "no sample answers to pair"
    first, second = ({s.id: s for s in rows} for rows in (before, after))
    if len(first) != len(before) or len(second) != len(after):
        return [], "sample ids repeat"
    if first.keys() != second.keys():
        same = len(first.keys() & second.keys())
        return [], f"the questions differ: {same} of {len(first)} and {len(second)} in common"
    if any(first[key].target != second[key].target for key in first):
        return [], "the same ids stand for different questions"
    return [(first[key], second[key]) for key in first], None


def _means(pairs: Sequence[tuple[Sample, Sample]], read: Callable[[Sample], float]) -> tuple[float, float]:
    n = len(pairs)
    return math.fsum(read(b) for b, _ in pairs) / n, math.fsum(read(a) for _, a in pairs) / n


def compare(
    before_stage: str,
    before: Score,
    before_samples: Sequence[Sample],
    after_stage: str,
    after: Score,
    after_samples: Sequence[Sample],
) -> Comparison:
    """Compare one metric of one task. The samples are those of this task alone.

    Right-or-wrong metrics of the same questions: Tango's interval and McNemar's exact test.
    Macro F1, and other metrics that stand in the samples: paired bootstrap. Else the two intervals are
    taken as independent.
    """
    task, metric = after.task, after.metric
    level = after.level
    pairs, note = _pairs(before_samples, after_samples)

    def made(
        limits: tuple[float, float] | None,
        method: str,
        *,
        paired: bool = False,
        p: float | None = None,
        gained: int | None = None,
        lost: int | None = None,
        note: str | None = None,
    ) -> Comparison:
        low, high = limits or (None, None)
        return Comparison(
            task=task,
            metric=metric,
            before=before,
            after=after,
            before_stage=before_stage,
            after_stage=after_stage,
            difference=after.value - before.value,
            low=low,
            high=high,
            method=method,
            paired=paired,
            p=p,
            gained=gained,
            lost=lost,
            note=note,
        )

    def bootstrapped(limits: tuple[float, float]) -> Comparison:
        same = limits[0] == limits[1]
        why = "every draw gave the same, so the interval says nothing of other questions" if same else None
        return made(None if same else limits, "paired bootstrap", paired=True, note=why)

    def agrees(means: tuple[float, float]) -> bool:
        # The samples speak of this metric only when their mean is the score (which may be rounded).
        return abs(means[0] - before.value) < 1e-3 and abs(means[1] - after.value) < 1e-3

    if pairs and metric == "macro_f1" and agrees((_f1(b for b, _ in pairs), _f1(a for _, a in pairs))):
        return bootstrapped(f1_bootstrap(pairs, level))
    # A bootstrapped score is no share of right answers, though it may be equal to one by chance.
    shares = "bootstrap" not in (before.method, after.method)
    judged = shares and pairs and all(None not in (b.correct, a.correct) for b, a in pairs)
    if judged and agrees(_means(pairs, lambda s: float(bool(s.correct)))):
        gained = sum(bool(a.correct and not b.correct) for b, a in pairs)
        lost = sum(bool(b.correct and not a.correct) for b, a in pairs)
        return made(
            tango(gained, lost, len(pairs), level),
            "paired: Tango's score interval, McNemar's exact test",
            paired=True,
            p=mcnemar(gained, lost),
            gained=gained,
            lost=lost,
        )
    in_samples = pairs and all(metric in b.values and metric in a.values for b, a in pairs)
    if in_samples and agrees(_means(pairs, lambda s: s.values[metric])):
        changes = [a.values[metric] - b.values[metric] for b, a in pairs]
        return bootstrapped(paired_bootstrap(changes, level))
    if pairs:
        note = "the samples do not hold this metric"
    limits = unpaired(before, after)
    if limits is None:
        return made(None, "no interval", note=note)
    return made(limits, "not paired: from the two intervals", note=note)
