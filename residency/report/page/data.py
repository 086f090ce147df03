"""What became of the rows that the data stages read."""

from __future__ import annotations

from residency.report.markup import Markup, tag
from residency.report.model import Funnel, RunRecord, StageRecord
from residency.report.page.tables import table


def section(record: RunRecord) -> Markup | None:
    """A funnel for each dataset."""
    parts = [
        tag("div", tag("h3", stage.name), [_funnel(f) for f in stage.funnels], _files(stage), class_="card")
        for stage in record.stages
        if stage.funnels or stage.files
    ]
    return tag("section", tag("h2", "Data"), parts, id="data") if parts else None


def _files(stage: StageRecord) -> Markup | None:
    if not stage.files:
        return None
    rows = [
        (file.name, f"{file.rows:,}", ", ".join(f"{count:,} {label}" for label, count in file.labels.items()))
        for file in stage.files
    ]
    return table(("File", "Rows", "Answers"), rows, numeric={1})


def _funnel(funnel: Funnel) -> Markup:
    gone = sum(funnel.dropped.values())
    whole = max(funnel.read or 0, gone + (funnel.kept or 0), 1)
    left = whole
    rows = [_bar("read", funnel.read, 0, funnel.read or 0, whole, "read")] if funnel.read is not None else []
    for reason, count in sorted(funnel.dropped.items(), key=lambda item: -item[1]):
        left -= count
        rows.append(_bar(reason, -count, max(left, 0), count, whole, "dropped"))
    if funnel.kept is not None:
        rows.append(_bar("kept", funnel.kept, 0, funnel.kept, whole, "kept"))
    note = None
    if funnel.read is not None and funnel.kept is not None and funnel.read - gone != funnel.kept:
        rest = funnel.read - gone - funnel.kept
        said = f"{rest:,} more were not needed." if rest > 0 else "One record may give several rows."
        note = tag("p", said, class_="quiet small")
    return tag("div", tag("h4", funnel.name), tag("div", rows, class_="bars"), note, class_="funnel")


def _bar(label: str, count: int | None, start: float, length: float, whole: int, role: str) -> Markup:
    style = f"left:{start / whole * 100:.2f}%;width:{length / whole * 100:.2f}%"
    figure = "" if count is None else f"{count:,}".replace("-", "−")
    return tag(
        "div",
        tag("span", label, class_="bar-label"),
        tag("span", tag("span", style=style, class_=role), class_="bar-track", aria_hidden="true"),
        tag("span", figure, class_="bar-value"),
        class_=f"bar-row {role}-row",
    )
