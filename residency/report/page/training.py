"""Loss curves, and a small chart for every other figure that training logged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from residency.report import wording
from residency.report.markup import Markup, tag
from residency.report.model import RunRecord, StageRecord
from residency.report.page import rlvr
from residency.report.page.charts import Point, Series, line_chart
from residency.report.scores import number

NOT_CHARTED = {"step", "total", "epoch", "loss", "eval_loss", "seconds", "unit"}
MOST_CHARTS = 12


def section(record: RunRecord) -> Markup | None:
    """The curves of every stage that has any."""
    parts = [part for stage in record.stages if (part := _stage(stage))]
    return tag("section", tag("h2", "Training"), parts, id="training") if parts else None


def column(rows: Sequence[Mapping[str, Any]], key: str) -> list[Point]:
    """A figure by step, where it is a number."""
    return [(float(row["step"]), y) for row in rows if (y := number(row.get(key))) is not None]


def _stage(stage: StageRecord) -> Markup | None:
    rows = stage.curve
    marks = []
    if found := re.search(r"(\d+)$", stage.resumed_from):
        marks.append((float(found.group(1)), "resumed"))
    if stage.kind == "rlvr":
        return rlvr.card(stage, _facts(stage) if rows else "", marks)
    if not rows:
        return None
    main = line_chart(
        [
            Series("train", column(rows, "loss"), "train", smooth=True),
            Series("held out", column(rows, "eval_loss"), "eval"),
        ],
        "Loss",
        marks,
    )
    keys = dict.fromkeys(key for row in rows for key in row if key not in NOT_CHARTED)
    small = [
        chart
        for key in list(keys)[:MOST_CHARTS]
        if (chart := line_chart([Series(key, column(rows, key), "other")], key.replace("_", " "), marks))
    ]
    if main is None and not small:
        return None
    return tag(
        "div",
        tag("h3", stage.name, tag("span", _facts(stage), class_="quiet")),
        _not_numbers(rows),
        main,
        tag("div", small, class_="small-charts") if small else None,
        class_="card",
    )


def _facts(stage: StageRecord) -> str:
    last = stage.curve[-1]
    facts = [f"{wording.plural(int(last['step']), 'step')}"]
    total = number(last.get("total"))
    if total and total > last["step"]:
        word = "at step" if stage.status == "running" else "stopped at step"
        facts[0] = f"{word} {last['step']} of {wording.number(total)}"
    if stage.seconds:
        facts.append(wording.duration(stage.seconds))
    return " · ".join(facts)


def _not_numbers(rows: Sequence[Mapping[str, Any]]) -> Markup | None:
    """A warning where the loss was not a number."""
    bad = [row["step"] for row in rows if "loss" in row and number(row["loss"]) is None]
    if not bad:
        return None
    many = f" and at {len(bad) - 1} more" if len(bad) > 1 else ""
    return tag("p", f"The loss was not a number at step {bad[0]}{many}.", class_="note bad")
