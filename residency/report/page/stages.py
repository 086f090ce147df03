"""The stages as a graph with their states, times and what they left."""

from __future__ import annotations

from residency.report import wording
from residency.report.markup import Child, Markup, tag
from residency.report.model import RunRecord, StageRecord
from residency.report.page import rails
from residency.report.page.tables import facts, folded


def section(record: RunRecord) -> Markup | None:
    """One row per stage."""
    if not record.stages:
        return None
    layout = rails.rows({stage.name: stage.needs for stage in record.stages})
    lanes = 1 + max(max((row.lane, *row.passing, *row.ending)) for row in layout)
    longest = max((s.seconds or 0 for s in record.stages if not s.reused), default=0)
    shown = [
        tag(
            "li",
            rails.draw(row, lanes, stage.status),
            tag("div", _stage(stage, longest), class_="stage"),
            class_="stage-row",
            style=f"padding-left:{rails.width(lanes) + 10:g}px",
        )
        for stage, row in zip(record.stages, layout, strict=True)
    ]
    return tag(
        "section",
        tag("h2", "Stages"),
        tag("ol", shown, class_="stages card"),
        tag("p", _times(record), class_="quiet small"),
        id="stages",
    )


def _times(record: RunRecord) -> str:
    spent = sum(s.seconds or 0 for s in record.stages if not s.reused)
    saved = sum(s.seconds or 0 for s in record.stages if s.reused)
    words = f"Stages that ran here took {wording.duration(spent)} in all."
    return words + (f" Those reused once took {wording.duration(saved)}." if saved else "")


def _stage(stage: StageRecord, longest: float) -> list[Child]:
    engine = " ".join(part for part in (stage.engine, stage.engine_version) if part)
    share = 0 if stage.reused or not longest else (stage.seconds or 0) / longest
    took = wording.duration(stage.seconds)
    return [
        tag(
            "div",
            tag("b", stage.name, class_="stage-name"),
            tag("span", stage.status, class_=f"state {stage.status}"),
            tag("span", f"took {took} before" if stage.reused and took else took, class_="took"),
            class_="stage-head",
        ),
        tag(
            "div",
            " · ".join(part for part in (stage.kind, engine, _needs(stage)) if part),
            class_="quiet small",
        ),
        tag("div", tag("span", style=f"width:{share * 100:.1f}%"), class_="bar", aria_hidden="true")
        if share
        else None,
        tag("p", stage.reason, class_="small") if stage.reason else None,
        tag("p", stage.since, class_="note") if stage.since else None,
        tag("p", stage.error, tag("br"), stage.hint, class_="note bad") if stage.error else None,
        [tag("p", warning, class_="note") for warning in stage.warnings],
        folded("details", _details(stage)) if stage.folder else None,
        folded("end of its log", tag("pre", wording.clean(stage.log_tail)), opened=stage.status == "failed")
        if stage.log_tail.strip()
        else None,
    ]


def _needs(stage: StageRecord) -> str:
    return f"after {', '.join(stage.needs)}" if stage.needs else ""


def _details(stage: StageRecord) -> list[Child]:
    resources = stage.config.get("resources")
    pairs = {
        "command": tag("code", stage.command) if stage.command else None,
        "folder": tag("code", f"store/{stage.key}") if stage.key else None,
        "started": wording.when(stage.started),
        "ended": wording.when(stage.ended),
        "attempts": stage.attempts if (stage.attempts or 0) > 1 else None,
        "went on from": stage.resumed_from,
        "resources": resources,
        "figures": dict(stage.figures),
        "outputs": dict(stage.outputs),
        "model": stage.model,
        "adapter": stage.adapter,
    }
    config = {k: v for k, v in stage.config.items() if k not in ("kind", "name", "resources")}
    return [
        facts((name, value) for name, value in pairs.items() if value not in (None, "", {}, ())),
        folded("its settings", facts(config)) if config else None,
    ]
