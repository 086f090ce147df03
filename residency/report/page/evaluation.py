"""Scores with their intervals, and whether they differ."""

from __future__ import annotations

from residency.report import wording
from residency.report.compare import Comparison
from residency.report.markup import Markup, tag
from residency.report.model import RunRecord, StageRecord
from residency.report.page.charts import Dot, dot_plot
from residency.report.page.tables import table
from residency.report.scores import Score
from residency.stats import SMALL_SAMPLE

SMOKE = (
    "This is a smoke run: small data and few steps. Its figures show that the recipe works, "
    "not what the model can do."
)


def section(record: RunRecord) -> Markup | None:
    """The evaluation: dots, differences, the table."""
    if not record.evaluations:
        return None
    found = record.comparisons()
    entries = [(stage, score) for stage in record.evaluations for score in stage.scores]
    return tag(
        "section",
        tag("h2", "Evaluation"),
        tag("p", SMOKE, class_="note") if record.smoke else None,
        tag(
            "div",
            [_plot(entries, shares) for shares in (True, False)],
            [_difference(item) for item in found],
            class_="card",
        ),
        _table(entries),
        tag("p", _legend(entries), class_="quiet small"),
        id="evaluation",
    )


def _is_share(score: Score) -> bool:
    return all(0 <= v <= 1 for v in (score.value, score.low, score.high) if v is not None)


def _plot(entries: list[tuple[StageRecord, Score]], shares: bool) -> list[Markup]:
    """Shares on one plot from 0 to 1; any other metric on a plot of its own."""
    groups: dict[tuple[str, str], list[tuple[StageRecord, Score]]] = {}
    for stage, score in entries:
        groups.setdefault((score.task, score.metric), []).append((stage, score))
    made = [
        (f"{task} · {metric}", [_dot(*entry, place, len(group)) for place, entry in enumerate(group)])
        for (task, metric), group in groups.items()
        if all(_is_share(score) for _, score in group) == shares
    ]
    if not made:
        return []
    plots = [made] if shares else [[group] for group in made]
    return [dot_plot(plot, "scores with intervals; the table below holds the same figures") for plot in plots]


def _dot(stage: StageRecord, score: Score, place: int, of: int) -> Dot:
    role = "before" if place == 0 else "after" if place == of - 1 else "between"
    return Dot(stage.name, score.value, score.low, score.high, wording.value(score), role)


def _difference(found: Comparison) -> Markup:
    words: list[object] = [
        tag("b", f"{found.task}, {found.metric}: {wording.difference(found)}"),
        f" from {found.before_stage} to {found.after_stage}",
    ]
    if found.low is not None:
        words.append(
            f" ({wording.percent(found.after.level)} interval {wording.interval(found.low, found.high, True)}"
        )
        if found.p is not None:
            words += [", ", tag("span", wording.p_value(found.p), class_="nowrap")]
        words.append(")")
    words.append(f": {wording.verdict(found)}.")
    if found.gained is not None and found.lost is not None:
        words.append(f" {wording.plural(found.gained, 'answer')} became right, {found.lost:,} became wrong.")
    how = found.method + (f" ({found.note})" if found.note else "")
    return tag("p", words, tag("span", f" {how[0].upper()}{how[1:]}.", class_="quiet"), class_="difference")


def _table(entries: list[tuple[StageRecord, Score]]) -> Markup:
    order = {key: place for place, key in enumerate(dict.fromkeys((s.task, s.metric) for _, s in entries))}
    rows = []
    for stage, score in sorted(entries, key=lambda e: order[e[1].task, e[1].metric]):
        labels = [tag("span", label, class_="label") for label in score.labels]
        rows.append(
            (
                score.task,
                score.metric,
                stage.name,
                f"{score.n:,}" if score.n is not None else "not told",
                tag("b", wording.value(score)),
                wording.interval(score.low, score.high) or "none",
                "not told" if score.unreadable is None else f"{score.unreadable:,}",
                [labels, score.note] if labels or score.note else "",
            )
        )
    heads = ("Task", "Metric", "Stage", "n", "Value", "Interval", "Unreadable", "Note")
    return table(heads, rows, numeric={3, 4, 5, 6})


def _legend(entries: list[tuple[StageRecord, Score]]) -> str:
    levels = sorted({wording.percent(score.level) for _, score in entries})
    methods = sorted({score.method for _, score in entries if score.method})
    made = f" ({', '.join(methods)})" if methods else ""
    parts = [
        f"Lines and intervals are at {' and '.join(levels)}{made}.",
        "An unreadable answer counts as wrong.",
    ]
    if any(score.small for _, score in entries):
        parts.append(f"Small sample: fewer than {SMALL_SAMPLE} questions, so no more than a rough figure.")
    if any(score.limited for _, score in entries):
        parts.append("Limited: only the first questions of the set were asked.")
    return " ".join(parts)
