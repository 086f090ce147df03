"""The gold check: right answers must score the maximum, corrupted ones less.

It is made before training, since a reward that gives a wrong answer full marks, or a right one
less, is found out by the model within hours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from residency.errors import RecipeInvalid, StageFailed
from residency.rewards import corruptions
from residency.rewards.corruptions import GoldRow
from residency.rewards.rows import RewardRow
from residency.rewards.score import Sample, Scored, Scorer
from residency.rewards.spec import EPSILON, Calls, Component, best_total

ROWS = 64
"""Rows that are tried unless the recipe says otherwise."""
LOOK = 20_000
"""Rows among which those that are tried are chosen."""
TRIED = 4
"""Rows that are tried where the check is left out."""
GOLD = "gold"
"""The case of a right answer."""
SHOWN = 400
"""Characters of an answer that a message shows."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that was scored as it must not be."""

    index: int
    """The row, from 0."""
    data_source: str
    case: str
    """`gold`, or the corruption."""
    answer: str
    ground_truth: Any
    scored: Scored
    message: str


@dataclass(slots=True)
class GoldReport:
    """What the gold check found."""

    rows: int
    """Rows that were tried."""
    without_gold: int
    """Rows that could not be, since no right answer is known."""
    maximum: float
    """What a right answer must score."""
    cases: dict[str, int] = field(default_factory=dict)
    """`gold` or a corruption → how many answers were scored."""
    means: dict[str, dict[str, float | None]] = field(default_factory=dict)
    """Case → component or `total` → its mean; None when none was available."""
    failures: list[Failure] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing failed."""
        return not self.failures

    def to_json(self) -> dict[str, Any]:
        """The report as gold.json has it."""
        return {
            "ok": self.ok,
            "rows": self.rows,
            "without_gold": self.without_gold,
            "maximum": self.maximum,
            "cases": self.cases,
            "means": self.means,
            "failures": [
                {
                    "row": failure.index,
                    "data_source": failure.data_source,
                    "case": failure.case,
                    "message": failure.message,
                    "answer": failure.answer,
                    "ground_truth": failure.ground_truth,
                    "total": failure.scored.total,
                    "components": failure.scored.components,
                    "errors": failure.scored.errors,
                }
                for failure in self.failures
            ],
        }


def gold_row(row: RewardRow, extra_info: Mapping[str, Any]) -> GoldRow:
    """A row of the recipe's data as the check takes it.

    Args:
        row: The row.
        extra_info: What reward functions are given as `extra_info` in training.
    """
    return GoldRow(
        prompt="\n".join(message["content"] for message in row.messages),
        gold=row.gold,
        ground_truth=row.ground_truth,
        data_source=row.data_source,
        extra_info=dict(extra_info),
        index=row.index,
    )


def spread(rows: Sequence[GoldRow], count: int) -> Sequence[GoldRow]:
    """So many of the rows, evenly over all of them."""
    if len(rows) <= count:
        return rows
    return [rows[index * len(rows) // count] for index in range(count)]


def check(
    components: Sequence[Component],
    rows: Iterable[GoldRow],
    *,
    calls: Calls | None = None,
    count: int = ROWS,
    which: Sequence[str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> GoldReport:
    """Score gold answers and corrupted ones.

    Args:
        components: The recipe's rewards.
        rows: The recipe's rows.
        calls: How the functions are called.
        count: Rows that are tried.
        which: Corruptions that are tried; None: all that fit the data.
        tell: Told how many answers are about to be scored.

    Raises:
        RecipeInvalid: No row has a gold answer, or the maximum of a component is not known.
    """
    maximum = best_total(components)
    if maximum is None:
        raise _no_maximum(components)
    seen = list(islice(rows, LOOK))
    there = [row for row in seen if row.gold is not None and row.gold.strip()]
    if not there:
        raise RecipeInvalid(
            "no row has a gold answer, so that the rewards cannot be checked",
            'say how a right answer is written: `rows: {gold: "<answer>{label}</answer>"}` '
            "(columns in braces), or leave the check out with `gold_check: false`",
        )
    kept = spread(there, count)
    cases = _cases(kept, corruptions.different(there), which)
    samples = [_sample(case.row, text) for case in cases for text in case.group]
    if tell is not None:
        tell(f"scoring {len(samples)} answers to {len(kept)} questions")
    scored = iter(Scorer(components, calls or Calls()).score_now(samples))
    for case in cases:
        case.scored = list(islice(scored, len(case.group)))
    report = GoldReport(len(kept), len(seen) - len(there), maximum)
    for name in dict.fromkeys(case.name for case in cases):
        found = [result for case in cases if case.name == name for result in case.scored]
        report.cases[name] = len(found)
        report.means[name] = _means(found, components)
    right = maximum
    for case in cases:
        if case.name == GOLD:  # the first case of each row
            total = case.scored[0].total
            right = maximum if total is None else min(maximum, total)
        failure = _failure(components, case, maximum if case.name == GOLD else right)
        if failure:
            report.failures.append(failure)
    return report


def try_out(components: Sequence[Component], rows: Iterable[GoldRow], calls: Calls | None = None) -> None:
    """See that answers can be scored at all, where the gold check is left out.

    A function that never gives a score would be found out by the first step, minutes later.

    Raises:
        StageFailed: A component that has a weight gave no score to any of a few answers.
    """
    samples = [
        _sample(row, text)
        for row in islice(rows, TRIED)
        for text in (row.gold or str(row.ground_truth), f"<answer>{row.ground_truth}</answer>", "")
    ]
    scored = Scorer(components, calls or Calls()).score_now(samples)
    for component in components:
        reasons = [result.errors.get(component.name) for result in scored]
        if component.weight and reasons and all(reasons):
            raise StageFailed(
                f"the reward `{component.name}` gave none of {len(samples)} answers a score: {reasons[0]}; "
                f"the ground truth was {shown(samples[0].ground_truth)}",
                "mend the function, its `args:` or the rows; it must return a number",
            )


def _sample(row: GoldRow, text: str) -> Sample:
    """An answer to a question, with what a reward function is given in training."""
    return Sample(row.data_source, text, row.ground_truth, {**row.extra_info, "turns": [text]})


@dataclass(slots=True)
class _Case:
    """Answers to a question that are judged together."""

    row: GoldRow
    name: str
    group: corruptions.Group
    scored: list[Scored] = field(default_factory=list)


def _cases(kept: Iterable[GoldRow], others: Sequence[GoldRow], which: Sequence[str] | None) -> list[_Case]:
    cases = []
    for row in kept:
        cases.append(_Case(row, GOLD, [row.gold or ""]))
        for name, groups in corruptions.of(row, others, which).items():
            cases += [_Case(row, name, group) for group in groups]
    return cases


def insist(report: GoldReport) -> None:
    """Stop when the check has failed.

    Raises:
        StageFailed: It has; the message shows the first offending row.
    """
    if report.ok:
        return
    first = report.failures[0]
    number = len(report.failures)
    rest = f" ({number} answers in all)" if number > 1 else ""
    raise StageFailed(
        f"the rewards fail the gold check{rest}: row {first.index + 1}, {first.case}: {first.message}; "
        f"the answer was {shown(first.answer)}, the ground truth {shown(first.ground_truth)}",
        "mend the rewards or the rows; `launch.py rewards test RECIPE` shows all of it",
    )


def shown(value: object) -> str:
    """A value as a message shows it: in quotes, cut in its middle when long."""
    if isinstance(value, str) and (once := corruptions.once(value)) is not None:
        return f"{shown(once)}, {corruptions.REPEATED} times"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"


def _failure(components: Sequence[Component], case: _Case, right: float) -> Failure | None:
    """What is wrong with the scores of a case, or None.

    Args:
        components: The recipe's rewards.
        case: The case, scored.
        right: What the right answer must score; for a corrupted one, what it did score.
    """
    missing = next((i for i, result in enumerate(case.scored) if result.total is None), None)
    if missing is not None:
        reasons = "; ".join(f"`{name}`: {why}" for name, why in case.scored[missing].errors.items())
        return _failed(case, missing, f"it could not be scored: {reasons}")
    totals = [result.total for result in case.scored if result.total is not None]
    if case.name != GOLD:
        if min(totals) < right - EPSILON:
            return None
        return _failed(case, 0, f"it scores {totals[0]:g}, and must score less than {right:g}")
    if abs(totals[0] - right) <= EPSILON * max(1.0, abs(right)):
        return None
    short = []
    for component in components:
        score = case.scored[0].components[component.name]
        wanted = component.maximum if component.weight >= 0 else component.minimum
        if component.weight and score is not None and wanted is not None and abs(score - wanted) > EPSILON:
            short.append(f"`{component.name}` gives {score:g} and not {wanted:g}")
    return _failed(case, 0, f"it scores {totals[0]:g} and not {right:g}: " + ", ".join(short))


def _failed(case: _Case, index: int, message: str) -> Failure:
    row = case.row
    return Failure(
        row.index,
        row.data_source,
        case.name,
        case.group[index],
        row.ground_truth,
        case.scored[index],
        message,
    )


def _means(found: Sequence[Scored], components: Sequence[Component]) -> dict[str, float | None]:
    columns = {c.name: [result.components[c.name] for result in found] for c in components}
    columns["total"] = [result.total for result in found]
    means: dict[str, float | None] = {}
    for name, column in columns.items():
        there = [value for value in column if value is not None]
        means[name] = sum(there) / len(there) if there else None
    return means


def _no_maximum(components: Sequence[Component]) -> RecipeInvalid:
    unknown = [c for c in components if c.best is None]
    if unknown[0].weight < 0:
        return RecipeInvalid(
            f"the lowest score of `{unknown[0].name}`, which counts against an answer, is not known",
            "put `@scores(low, high)` above the function, or use a function that scores below 0",
        )
    names = ", ".join(f"`{c.name}`" for c in unknown)
    return RecipeInvalid(
        f"what a right answer scores is not known of {names}",
        "add `max:` to it in the recipe, or put `@scores(low, high)` above the function",
    )
