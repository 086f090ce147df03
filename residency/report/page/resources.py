"""Time, memory and GPUs that the stages took, and the servers that they used."""

from __future__ import annotations

from residency.report import wording
from residency.report.markup import Child, Markup, tag
from residency.report.model import RunRecord, StageRecord
from residency.report.page.tables import table
from residency.report.scores import number


def section(record: RunRecord) -> Markup | None:
    """A row for each stage that ran, and for each service."""
    ran = [stage for stage in record.stages if stage.seconds]
    if not ran and not record.services:
        return None
    return tag(
        "section",
        tag("h2", "Resources"),
        tag(
            "div",
            table(
                ("Stage", "Time", "Attempts", "Peak memory", "GPUs"), map(_stage, ran), numeric={1, 2, 3, 4}
            )
            if ran
            else None,
            tag("p", _said(record, ran), class_="quiet small"),
            _services(record),
            class_="card",
        ),
        id="resources",
    )


def _stage(stage: StageRecord) -> tuple[Child, ...]:
    took = wording.duration(stage.seconds)
    return (
        stage.name,
        f"{took} before" if stage.reused else took,
        f"{stage.attempts:,}" if stage.attempts else "",
        wording.size(stage.peak_memory) if stage.peak_memory else "not told",
        f"{stage.gpus:,}" if stage.gpus else "none" if stage.gpus == 0 else "not told",
    )


def _said(record: RunRecord, ran: list[StageRecord]) -> str:
    here = [stage for stage in ran if not stage.reused]
    hours = sum((stage.seconds or 0) * (stage.gpus or 0) for stage in here) / 3600
    words = [f"In this run {wording.duration(sum(s.seconds or 0 for s in here)) or 'no time'} of stages"]
    if hours:
        words.append(f", {wording.number(hours)} GPU hours")
    words.append(". Peak memory is of the largest process of a stage, on the host, not on a GPU.")
    tokens = sum(number(stage.figures.get("tokens")) or 0 for stage in here)
    if tokens:
        words.append(f" {tokens:,.0f} tokens were generated.")
    return "".join(words)


def _services(record: RunRecord) -> Markup | None:
    if not record.services:
        return None
    rows = [
        (
            service.name,
            service.engine or "ran already",
            service.status + (f": {service.error}" if service.error else ""),
            f"{service.restarts:,}",
            ", ".join(service.used_by),
        )
        for service in record.services
    ]
    return tag(
        "div",
        tag("h3", "Services"),
        table(("Service", "Engine", "Ended as", "Restarts", "Used by"), rows, numeric={3}),
    )
