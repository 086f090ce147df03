"""Scores with their intervals, and whether they differ."""

from __future__ import annotations

from collections.abc import Sequence

from residency.report import wording
from residency.report.compare import Comparison, holm
from residency.report.markup import Markup, tag
from residency.report.model import RunRecord, StageRecord
from residency.report.page.charts import Dot, dot_plots
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
            _plots(entries),
            [_difference(item) for item in found],
            class_="card",
        ),
        _table(entries),
        _tests(found),
        _asked(entries),
        tag("p", _legend(entries), class_="quiet small"),
        id="evaluation",
    )


def _plots(entries: list[tuple[StageRecord, Score]]) -> list[Markup]:
    groups: dict[tuple[str, str], list[tuple[StageRecord, Score]]] = {}
    for stage, score in entries:
        groups.setdefault((score.task, score.metric), []).append((stage, score))
    made = [
        (f"{task} · {metric}", [_dot(*entry, place, len(group)) for place, entry in enumerate(group)])
        for (task, metric), group in groups.items()
    ]
    return dot_plots(made, "scores with intervals; the table below holds the same figures")


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


def _tests(found: Sequence[Comparison]) -> Markup | None:
    """The paired tests side by side, their p-values also corrected for there being several."""
    tested = [one for one in found if one.low is not None]
    if not tested:
        return None
    ps = [one.p for one in found if one.p is not None]
    corrected = dict(zip((id(one) for one in found if one.p is not None), holm(ps), strict=True))
    rows = [
        (
            f"{one.task}, {one.metric}",
            f"{one.before_stage} to {one.after_stage}",
            f"{one.n:,}" if one.n is not None else "not paired",
            tag("b", wording.difference(one)),
            wording.interval(one.low, one.high, True),
            wording.p_value(one.p) if one.p is not None else "none",
            wording.p_value(corrected[id(one)]) if one.p is not None else "none",
        )
        for one in tested
    ]
    heads = ["Metric", "Stages", "Pairs", "Difference", "Interval", "Test", "Corrected"]
    said = (
        f"Corrected: by Holm's method for all {len(ps)} tests of this page."
        if len(ps) > 1
        else "One test, so that nothing is corrected."
    )
    return tag(
        "details",
        tag("summary", "Differences and their tests"),
        table(heads, rows, numeric={2, 3, 4}),
        tag("p", said, class_="quiet small"),
    )


def _unreadable(score: Score) -> str:
    if score.unreadable is None:
        return "not told"
    share = f" ({score.unreadable / score.n:.0%})" if score.n and score.unreadable else ""
    return f"{score.unreadable:,}{share}"


def _asked(entries: list[tuple[StageRecord, Score]]) -> Markup | None:
    """How each task was asked, where the results say so."""
    rows = []
    for stage, task in dict.fromkeys((stage.name, score.task) for stage, score in entries):
        about = next(s for s, _ in entries if s.name == stage).asked.get(task) or {}
        version, prompts = about.get("version"), about.get("prompt_hash")
        if version is not None or prompts is not None:
            rows.append((task, stage, wording.plain_value(version), str(prompts or "not told")[:16]))
    if not rows:
        return None
    return tag(
        "details",
        tag("summary", "How the tasks were asked"),
        table(("Task", "Stage", "Version", "Prompts (hash)"), rows),
    )


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
                _unreadable(score),
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
