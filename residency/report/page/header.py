"""The top of the page: what ran, how it ended, what it showed."""

from __future__ import annotations

from residency.report import wording
from residency.report.markup import Child, Markup, tag
from residency.report.model import RunRecord

ENDINGS = {
    "done": "done",
    "failed": "failed",
    "interrupted": "interrupted",
    "running": "still running when this page was written",
    "dry-run": "dry run: nothing was run",
    "unknown": "how it ended is not known",
}


def section(record: RunRecord) -> Markup:
    """Title, state, the headline figures, what went wrong, warnings."""
    facts = [
        ("Recipe", record.recipe),
        ("Profile", ", ".join(record.profiles)),
        ("Set", ", ".join(record.overrides)),
        ("Started", wording.when(record.started)),
        ("Took", wording.duration(record.seconds)),
        ("Run", record.id),
    ]
    return tag(
        "header",
        tag("p", "Residency run", class_="eyebrow"),
        tag(
            "h1",
            record.name,
            " ",
            tag("span", ENDINGS.get(record.status, record.status), class_=f"state {record.status}"),
        ),
        tag(
            "dl",
            [tag("div", tag("dt", k), tag("dd", v)) for k, v in facts if v],
            class_="top-facts",
        ),
        _failure(record),
        _headlines(record),
        _warnings(record),
        class_="top",
        id="top",
    )


def _headlines(record: RunRecord) -> Markup | None:
    """The first score of a task, the last and those between in large figures, for four tasks at most."""
    ends = {(id(c.before), id(c.after)): c for c in record.comparisons()}
    tiles = []
    for entries in [found for found in record.series() if len(found) > 1][:4]:
        found = ends[id(entries[0][1]), id(entries[-1][1])]
        words = f"{wording.difference(found)}"
        if found.low is not None:
            words += f" ({wording.interval(found.low, found.high, True)})"
        words += f", n = {found.after.n:,}" if found.after.n is not None else ""
        several = len(entries) > 2
        if several:
            words += f", from {found.before_stage} to {found.after_stage}"
        arrow = tag("span", " → ", class_="arrow", aria_label="to")
        figures: list[Child] = [tag("span", wording.value(found.before), class_="from")]
        for _, score in entries[1:]:
            figures += [arrow, tag("span", wording.value(score), class_="to")]
        tiles.append(
            tag(
                "div",
                tag("div", f"{found.task} · {found.metric}", class_="quiet small"),
                tag("div", figures, class_="figures several" if several else "figures"),
                tag("div", words, class_="small"),
                [tag("span", label, class_="label") for label in _labels(*(score for _, score in entries))],
                class_="tile",
            )
        )
    return tag("div", tiles, class_="tiles") if tiles else None


def _labels(*scores: object) -> list[str]:
    return list(dict.fromkeys(label for score in scores for label in score.labels))  # type: ignore[attr-defined]


def _failure(record: RunRecord) -> Markup | None:
    notes: list[Child] = []
    for stage in record.stages:
        if stage.status == "failed":
            said = stage.error or "it left no message; see its log below"
            notes.append(
                tag("p", tag("b", f"{stage.name} failed: "), said, tag("br"), stage.hint, class_="note bad")
            )
        elif stage.status == "interrupted":
            at = f" at step {stage.curve[-1]['step']}" if stage.curve else ""
            after = f"It was {stage.since}." if stage.since else "The same command goes on from there."
            notes.append(
                tag(
                    "p",
                    tag("b", f"{stage.name} was interrupted{at}. "),
                    after,
                    class_="note bad",
                )
            )
    if record.error and not any(stage.status == "failed" for stage in record.stages):
        notes.append(tag("p", tag("b", record.error), tag("br"), record.hint, class_="note bad"))
    waiting = [stage.name for stage in record.stages if stage.status == "waiting"]
    if waiting and record.status not in ("running", "dry-run"):
        notes.append(tag("p", f"Not begun: {', '.join(waiting)}.", class_="note"))
    return tag("div", notes) if notes else None


def _warnings(record: RunRecord) -> Markup | None:
    said = [*record.warnings, *(f"{s.name}: {w}" for s in record.stages for w in s.warnings)]
    problems = [f"Not readable: {problem}" for problem in record.problems]
    if not said and not problems:
        return None
    items = [tag("li", text) for text in [*said, *problems]]
    title = wording.plural(len(items), "warning")
    if len(items) > 4:
        return tag("details", tag("summary", title), tag("ul", items), class_="note warnings")
    return tag("div", tag("b", title), tag("ul", items), class_="note warnings")
