"""Reinforcement learning: the reward and its components, how the policy moves, the gold check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from residency.report import figures, wording
from residency.report.markup import Child, Markup, tag
from residency.report.model import StageRecord
from residency.report.page import rollouts
from residency.report.page.charts import Point, Series, line_chart
from residency.report.page.tables import folded, table
from residency.report.rlvr import Component, Gold, Rlvr, components_of, tenths
from residency.report.scores import number
from residency.stats import SMALL_SAMPLE

Rows = Sequence[Mapping[str, Any]]

POLICY = ("response_length", "kl", "entropy", "clip_fraction", "zero_variance_groups", "unavailable")
"""Charts that stand open; the other figures are folded."""
FOLDED = (
    *("response_cut", "grad_norm", "policy_kl", "reward_less_kl", "value_loss", "value_explained", "turns"),
    *("learning_rate", "tokens_per_second", "step_seconds"),
)
FLAT = "A flat group is a question whose answers all scored the same: it teaches nothing."
SMALL_POINTS = 240
"""Points of a line in a small chart."""
FEWEST = 30
"""Validation answers from which an interval is made: with fewer the normal one is too narrow."""
CASES = {
    "gold": "a right answer",
    "wrong_answer": "the answer to another question",
    "missing_tag": "the right answer without its tags",
    "empty": "nothing",
    "prompt_echoed": "the question itself",
    "every_option": "every option at once",
    "repeated": "the right answer 100 times",
}


def card(stage: StageRecord, facts: str, marks: Sequence[tuple[float, str]]) -> Markup | None:
    """The stage's part of the training section; None when it left nothing to show."""
    rows, left = stage.curve, stage.rlvr or Rlvr()
    if not rows and left.gold is None and not left.prompts:
        return None
    parts = components_of(rows, left.components)
    return tag(
        "div",
        tag("h3", stage.name, tag("span", facts, class_="quiet")),
        _notes(rows, left),
        line_chart(_reward(rows, "reward", "total"), "Reward", marks),
        _said(rows, left) if rows else None,
        _small([_part(rows, p) for p in parts], named=True) if len(parts) > 1 else None,
        _components(rows, parts, left.gold),
        _small([_chart(rows, key, marks) for key in POLICY]),
        tag("p", FLAT, class_="quiet small") if _column(rows, "zero_variance_groups") else None,
        _folded([_chart(rows, key, marks) for key in FOLDED]),
        tag("p", _prompts(left), class_="quiet small") if left.prompts else None,
        _gold(left.gold, parts or left.components) if left.gold else None,
        rollouts.part(left.rollouts, parts) if left.rollouts else None,
        class_="card",
    )


def _column(rows: Rows, key: str) -> list[Point]:
    return [(float(row["step"]), y) for row in rows if (y := number(row.get(key))) is not None]


def _reward(rows: Rows, key: str, name: str) -> list[Series]:
    """A reward in training with its band, and on held-out questions."""
    train = _column(rows, key)
    edges = {
        float(row["step"]): (low, high)
        for row in rows
        if (low := number(row.get(f"rewards/{name}/q10"))) is not None
        and (high := number(row.get(f"rewards/{name}/q90"))) is not None
    }
    whole = len(edges) and all(x in edges for x, _ in train)
    validation = f"validation/{name}/mean"
    n = [int(found) for _, found in _column([r for r in rows if validation in r], "validation/n")]
    told = f" (n = {n[-1]:,})" if name == "total" and n and len(set(n)) == 1 else ""
    return [
        Series("train", train, "train", smooth=True, band=[edges[x] for x, _ in train] if whole else ()),
        Series(f"held out{told}", _column(rows, validation), "eval"),
    ]


def _chart(rows: Rows, key: str, marks: Sequence[tuple[float, str]]) -> Markup | None:
    points = _column(rows, key)
    if key == "unavailable" and not any(y for _, y in points):
        return None
    series = [Series(figures.title(key), points, "other", smooth=key != "unavailable")]
    return line_chart(series, figures.title(key), marks, most=SMALL_POINTS)


def _part(rows: Rows, component: Component) -> Markup | None:
    series = _reward(rows, f"rewards/{component.name}/mean", component.name)
    weight = "" if component.weight == 1 else f" ({_weight(component)})"
    return line_chart(series, f"{component.name}{weight}", most=SMALL_POINTS)


def _weight(component: Component) -> str:
    return f"× {wording.number(component.weight)}".replace("-", "−")


def _small(charts: Sequence[Markup | None], *, named: bool = False) -> Markup | None:
    """Small charts side by side; `named` where their titles are names, to be left as they are."""
    there = [chart for chart in charts if chart is not None]
    return tag("div", there, class_="small-charts named" if named else "small-charts") if there else None


def _folded(charts: Sequence[Markup | None]) -> Markup | None:
    made = _small(charts)
    return folded("speed, optimiser and further figures", made) if made else None


def _said(rows: Rows, left: Rlvr) -> Markup:
    words = []
    if any("rewards/total/q10" in row for row in rows):
        words.append("The area holds the middle 80 % of the answers of a step.")
    if left.gold is not None and left.gold.maximum is not None:
        words.append(f"A right answer scores {wording.number(left.gold.maximum)}.")
    if any("validation/total/mean" in row for row in rows):
        words.append("Held out: the validation questions.")
    return tag("p", " ".join(words), class_="quiet small")


def _notes(rows: Rows, left: Rlvr) -> list[Child]:
    notes: list[Child] = []
    if left.gold_off:
        said = "The rewards were not checked on gold answers: the recipe says gold_check: false."
        notes.append(tag("p", said, class_="note"))
    lost = [share for _, share in _column(rows, "unavailable")]
    if any(lost):
        notes.append(
            tag(
                "p",
                f"{sum(lost) / len(lost) * 100:.2g} % of the answers had no reward and left the loss: "
                f"in {sum(share > 0 for share in lost):,} of {wording.plural(len(lost), 'step')}, "
                f"{max(lost) * 100:.2g} % at most.",
                class_="note",
            )
        )
    failed = [(step, share) for step, share in _column(rows, "rewards/failed") if share]
    if failed:
        said = f"In {wording.plural(len(failed), 'step')} some rollouts ended in an error and were left out, "
        said += f"{max(share for _, share in failed) * 100:.2g} % at most."
        notes.append(tag("p", said, class_="note"))
    return notes


def _prompts(left: Rlvr) -> str:
    said = []
    limit = f" than {left.limit:,} tokens" if left.limit else ""
    for found in left.prompts:
        what = "train" if found.split == "train" else "validate"
        words = f"{wording.plural(found.kept, 'question')} to {what} on"
        if found.dropped:
            words += f", {found.dropped:,} longer{limit} left out"
        if found.truncated:
            words += f", {found.truncated:,} longer{limit} cut"
        said.append(words)
    return "; ".join(said) + "."


# The table of components.


def _components(rows: Rows, parts: Sequence[Component], gold: Gold | None) -> Markup | None:
    """Each component at the start and the end: a reward that is gamed shows as one that rises alone."""
    if not any("reward" in row for row in rows):
        return None
    validated = [row for row in rows if "validation/total/mean" in row]
    ends = validated[:1] + validated[1:][-1:]
    right = next((case.means for case in gold.cases if case.name == "gold"), {}) if gold else {}
    heads = ["Reward", "Weight", "First tenth", "Last tenth", "Change"]
    heads += ["A right answer"] if right else []
    heads += [f"Held out, step {row['step']:,}" for row in ends]
    lines: list[list[Child]] = []
    for name, component in [("total", None), *((p.name, p) for p in parts)]:
        points = _column(rows, "reward" if component is None else f"rewards/{name}/mean")
        first, last = tenths([y for _, y in points])
        lines.append(
            [
                tag("b", "whole") if component is None else name,
                "" if component is None else _weight(component),
                _figure(first),
                _figure(last),
                "" if first is None or last is None else f"{last - first:+.3f}".replace("-", "−"),
                *([_figure(right.get(name))] if right else []),
                *(_held_out(row, name) for row in ends),
            ]
        )
    n = [number(row.get("validation/n")) for row in ends]
    said = "First and last tenth: the mean over that part of the steps."
    if ends and None not in n:
        said += f" Held out: n = {' and '.join(dict.fromkeys(f'{int(k or 0):,}' for k in n))}"
        made = any(_interval(row, name) for row in ends for name in ["total", *(p.name for p in parts)])
        said += ", with 95 % intervals (normal)." if made else "."
        if any((k or 0) < SMALL_SAMPLE for k in n):
            said += f" Small sample: fewer than {SMALL_SAMPLE}, so no more than a rough figure."
    numeric = range(1, len(heads))
    return tag("div", table(heads, lines, numeric), tag("p", said, class_="quiet small"), class_="components")


def _figure(value: float | None) -> str:
    return "" if value is None else wording.score(value)


def _interval(row: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The 95 % interval of a validation's mean; None where it would say nothing."""
    mean, std, n = (
        number(row.get(key)) for key in (f"validation/{name}/mean", f"validation/{name}/std", "validation/n")
    )
    if mean is None or not std or n is None or n < FEWEST:
        return None
    # The standard deviation is that of these answers (divided by n).
    half = NormalDist().inv_cdf(0.975) * std / math.sqrt(n - 1)
    return mean - half, mean + half


def _held_out(row: Mapping[str, Any], name: str) -> Child:
    mean, limits = number(row.get(f"validation/{name}/mean")), _interval(row, name)
    if mean is None or limits is None:
        return _figure(mean)
    low, high = (_figure(limit) for limit in limits)
    return [_figure(mean), " ", tag("span", f"({low} to {high})", class_="quiet small nowrap")]


# The gold check.


def _gold(gold: Gold, parts: Sequence[Component]) -> Markup:
    tried = sum(case.answers for case in gold.cases)
    said = f"Before training, {tried:,} answers to {wording.plural(gold.rows, 'question')} were scored: "
    if gold.failures:
        said += f"{gold.failures:,} of them not as they must be."
    else:
        said += "every right answer scored the maximum, every corruption less."
    if gold.without_gold:
        said += (
            f" {wording.plural(gold.without_gold, 'question')} could not be tried: no right answer is known."
        )
    names = [p.name for p in parts]
    heads = ["Answer", "Tried", *names, "Whole reward"]
    lines = [
        [
            CASES.get(case.name, case.name),
            f"{case.answers:,}",
            *(_figure(case.means.get(name)) for name in names),
            tag("b", _figure(case.means.get("total"))),
        ]
        for case in gold.cases
    ]
    made = table(heads, lines, range(1, len(heads)))
    return tag(
        "div",
        tag("h4", "Gold check"),
        tag("p", said, class_="small"),
        folded("mean scores", made),
        class_="part",
    )
