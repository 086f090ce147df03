"""Which training rows were looked for evaluation questions, what was found, and what was let pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from residency.report import wording
from residency.report.markup import Child, Markup, tag
from residency.report.model import RunRecord, StageRecord
from residency.report.page.tables import table
from residency.report.scores import integer, text


def section(record: RunRecord) -> Markup | None:
    """A card for each comparison; nothing where none was made."""
    parts = [_card(stage) for stage in record.stages if stage.leaks]
    return tag("section", tag("h2", "Leaks"), parts, id="leaks") if parts else None


def _card(stage: StageRecord) -> Markup:
    found = stage.leaks
    leaks, allowed = integer(found.get("leaks")) or 0, integer(found.get("allowed")) or 0
    return tag(
        "div",
        tag("h3", stage.name),
        _verdict(found, leaks, allowed),
        _rows(found, leaks),
        _sets(found),
        _not_compared(found),
        tag(
            "p",
            f"Compared by PMIDs and other ids, and by {integer(found.get('ngram')) or 13} words in a row; "
            "case, spacing and punctuation aside. What many rows share does not count.",
            class_="quiet small",
        ),
        class_="card",
    )


def _verdict(found: Mapping[str, Any], leaks: int, allowed: int) -> Markup:
    said = text(found.get("said"))
    if not leaks:
        return tag("p", "No row of an evaluation set stands in a training set.")
    if allowed < leaks:
        return tag("p", tag("b", "Leaks stopped the run: "), f"{said}.", class_="note bad")
    reason = text(found.get("reason")) or "no reason given"
    return tag(
        "p",
        tag("b", "Leaks that the recipe allows: "),
        f"{said}. Reason given: {reason}. ",
        "Scores on these questions say little of what the model can do.",
        class_="note",
    )


def _rows(found: Mapping[str, Any], leaks: int) -> Markup | None:
    first = found.get("first")
    lines = [text(line) for line in first] if isinstance(first, list) else []
    if not lines:
        return None
    items: list[Child] = [tag("li", line) for line in lines]
    if leaks > len(lines):
        items.append(tag("li", f"and {leaks - len(lines):,} more, in leaks.jsonl"))
    return tag("ul", items, class_="small leaks")


def _sets(found: Mapping[str, Any]) -> Markup | None:
    rows = [
        (side, text(name), f"{count:,}")
        for side in ("training", "evaluation")
        for name, raw in _mapping(found.get(side)).items()
        if (count := integer(raw)) is not None
    ]
    return table(("Set", "Used by", "Rows"), rows, numeric={2}) if rows else None


def _not_compared(found: Mapping[str, Any]) -> Markup | None:
    listed = found.get("not_compared")
    if not isinstance(listed, list) or not listed:
        return None
    said = [tag("li", text(item)) for item in listed]
    return tag(
        "div", tag("b", f"{wording.plural(len(said), 'set')} not compared"), tag("ul", said), class_="note"
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
