"""Several runs on one page: settings, scores, tests, curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from residency.report import figures, wording
from residency.report.between import Compared
from residency.report.markup import Child, Markup, tag
from residency.report.model import StageRecord
from residency.report.page.charts import Dot, Series, dot_plots, line_chart, smoothed
from residency.report.page.header import ENDINGS
from residency.report.page.tables import table
from residency.report.page.training import NOT_CHARTED, column
from residency.report.several import Entry, Several, short

MOST_LINES = 8
"""Runs drawn in one chart."""
MOST_LETTERS = 40
"""Of a setting; `launch.py diff` shows all of it."""
MOST_CHARTS = 8
"""Charts of one stage."""
Section = tuple[str, str, Markup | None]
"""Name, id, content."""


def header(found: Several) -> Markup:
    """Title, and what could not be read or compared."""
    names = ", ".join(dict.fromkeys(run.name for run in found.runs))
    notes = [f"{run.id}: {ENDINGS.get(run.status, run.status)}" for run in found.runs if run.status != "done"]
    notes += [f"{run.id}: not readable: {problem}" for run in found.runs for problem in run.problems]
    notes += found.refused
    if any(run.smoke for run in found.runs):
        notes.append("A smoke run shows that a recipe works, not what its model can do.")
    return tag(
        "header",
        tag("p", "Residency runs", class_="eyebrow"),
        tag("h1", names, " ", tag("span", wording.plural(len(found.runs), "run"), class_="state")),
        tag("div", tag("ul", [tag("li", note) for note in notes]), class_="note warnings") if notes else None,
        class_="top",
        id="top",
    )


def sections(found: Several) -> Iterator[Section]:
    """The page's parts."""
    yield "Runs", "runs", _runs(found)
    yield "Scores", "scores", _scores(found)
    yield "Differences", "differences", _differences(found)
    yield "Curves", "curves", _curves(found)


def _runs(found: Several) -> Markup:
    """What each run is, and what it differs in."""
    heads = ["Run", "Id", "State", "Took", *found.settings]
    rows = []
    for place, run in enumerate(found.runs):
        state = tag("span", run.status, class_=f"state {run.status}")
        settings: list[Child] = [
            "" if values[place] is None else short(wording.plain_value(values[place]), MOST_LETTERS)
            for values in found.settings.values()
        ]
        rows.append((str(place + 1), run.id, state, wording.duration(run.seconds) or "", *settings))
    said = (
        "After the time: the settings in which the runs differ. Of several that differ alike one stands."
        if found.settings
        else "No setting differs: see `launch.py diff` for versions, code and data."
    )
    return tag(
        "section",
        tag("h2", "Runs"),
        table(heads, rows, whole=range(len(heads))),
        tag("p", said, class_="quiet small"),
        id="runs",
    )


def _scores(found: Several) -> Markup | None:
    series = found.series()
    if not series:
        return None
    rows = [
        (
            task,
            metric,
            stage,
            found.label(entry.runs),
            f"{entry.score.n:,}" if entry.score.n is not None else "not told",
            tag("b", wording.value(entry.score)),
            wording.interval(entry.score.low, entry.score.high) or "none",
            f"{entry.score.unreadable:,}" if entry.score.unreadable is not None else "not told",
            [tag("span", label, class_="label") for label in entry.score.labels] or "",
        )
        for (task, metric, stage), entries in series.items()
        for entry in entries
    ]
    heads = ("Task", "Metric", "Stage", "Run", "n", "Value", "Interval", "Unreadable", "Note")
    return tag(
        "section",
        tag("h2", "Scores"),
        tag("div", _plots(found, series), class_="card"),
        table(heads, rows, numeric={4, 5, 6, 7}, whole={0, 1, 2, 6}),
        id="scores",
    )


def _plots(found: Several, series: dict[tuple[str, str, str], list[Entry]]) -> list[Markup]:
    groups = [
        (f"{task} · {metric} · {stage}", [_dot(found, entry) for entry in entries])
        for (task, metric, stage), entries in series.items()
    ]
    return dot_plots(groups, "scores of the runs with intervals; the table below holds the same figures")


def _dot(found: Several, entry: Entry) -> Dot:
    score = entry.score
    role = "before" if found.base in entry.runs else "after"
    return Dot(found.label(entry.runs), score.value, score.low, score.high, wording.value(score), role)


def _differences(found: Several) -> Markup | None:
    """Each run against the first, its p-values corrected for all of the page."""
    if not found.compared:
        return None
    rows = [_difference(found, place, one) for place, one in found.compared]
    tests = sum(one.corrected is not None for _, one in found.compared)
    heads = (
        "Metric",
        "Run",
        "Stages",
        "Pairs",
        "Difference",
        "Interval",
        "Test",
        "Corrected",
        "Verdict",
    )
    said = f"Against the first run that has scores, {found.labels[found.base]}. "
    said += "Questions that both answered are compared in pairs. "
    said += f"Corrected: by Holm's method for all {tests} tests of this page; the verdict is by that."
    return tag(
        "section",
        tag("h2", "Differences"),
        table(heads, rows, numeric={3, 4, 5}, wide={8}, whole={0, 1, 2, 5, 6, 7}),
        tag("p", said, class_="quiet small"),
        id="differences",
    )


def _difference(found: Several, place: int, one: Compared) -> Sequence[Child]:
    made = one.found
    names = dict.fromkeys((made.before_stage, made.after_stage))
    verdict = wording.verdict(made) if made.low is None or one.clear else "no clear difference"
    notes = "; ".join([*([made.note] if made.note else []), *one.warnings])
    return (
        f"{made.task}, {made.metric}",
        str(place + 1),
        " to ".join(names),
        f"{made.n:,}" if made.n is not None else "not paired",
        tag("b", wording.difference(made)),
        wording.interval(made.low, made.high, True) or "none",
        wording.p_value(made.p) if made.p is not None else "none",
        wording.p_value(one.corrected) if one.corrected is not None else "none",
        [verdict, tag("div", notes, class_="quiet small") if notes else None],
    )


def _curves(found: Several) -> Markup | None:
    """What training logged, the runs as lines of one chart."""
    cards = []
    for stage, keys in found.curves().items():
        charts = [
            chart
            for key in sorted((k for k in keys if _charted(k)), key=_order)[:MOST_CHARTS]
            if (chart := _chart(found, key, keys[key]))
        ]
        if charts:
            cards.append(tag("div", tag("h3", stage), charts[0], _small(charts[1:]), class_="card"))
    if not cards:
        return None
    said = "Each value is the mean over about a tenth of the run around it."
    if len(found.runs) > MOST_LINES:
        said += f" Of each figure the first {MOST_LINES} runs that logged it are drawn."
    return tag("section", tag("h2", "Curves"), cards, tag("p", said, class_="quiet small"), id="curves")


def _charted(key: str) -> bool:
    return key in figures.FIRST or key not in NOT_CHARTED


def _order(key: str) -> int:
    return figures.FIRST.index(key) if key in figures.FIRST else len(figures.FIRST)


def _small(charts: Sequence[Markup]) -> Markup | None:
    return tag("div", charts, class_="small-charts") if charts else None


def _chart(found: Several, key: str, runs: Sequence[tuple[int, StageRecord]]) -> Markup | None:
    lines = []
    for place, stage in runs[:MOST_LINES]:
        points = column(stage.curve, key)
        even = zip((x for x, _ in points), smoothed([y for _, y in points]), strict=True)
        lines.append(Series(found.labels[place], list(even), f"run-{place % MOST_LINES}"))
    return line_chart(lines, figures.title(key))
