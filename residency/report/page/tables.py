"""Tables that turn into cards on a narrow screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from residency.report.markup import Child, Markup, tag
from residency.report.wording import plain_value


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Child]],
    numeric: Iterable[int] = (),
    wide: Iterable[int] = (),
    whole: Iterable[int] = (),
) -> Markup:
    """A table. Empty cells vanish on a narrow screen.

    Args:
        heads: The columns' names.
        rows: The cells.
        numeric: Columns set to the right.
        wide: Columns of long text, which on a narrow screen take the whole width.
        whole: Columns whose words are never broken; a table that is too wide for that is moved sideways.
    """
    right, long, unbroken = set(numeric), set(wide), set(whole)

    def cell(place: int, child: Child) -> Markup:
        classes = {
            "num": place in right,
            "wide": place in long,
            "whole": place in unbroken,
            "empty": child == "" or child is None,
        }
        class_ = " ".join(name for name, has in classes.items() if has) or None
        return tag("td", tag("div", child), class_=class_, data_label=heads[place])

    head = [
        tag("th", name, scope="col", class_="num" if i in right else None) for i, name in enumerate(heads)
    ]
    body = [tag("tr", [cell(place, child) for place, child in enumerate(row)]) for row in rows]
    return tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", body)), class_="table")


def facts(pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> Markup:
    """Names with values below each other; nested mappings are indented."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    rows = []
    for name, value in items:
        shown: Child = facts(value) if isinstance(value, Mapping) and value else value
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            shown = [
                facts(item) if isinstance(item, Mapping) else tag("div", plain_value(item)) for item in value
            ]
        elif not isinstance(shown, Markup):
            shown = plain_value(value)
        rows.append(tag("div", tag("dt", name), tag("dd", shown)))
    return tag("dl", rows, class_="facts")


def folded(summary: Child, *content: Child, opened: bool = False) -> Markup:
    """Content that shows after a click."""
    return tag("details", tag("summary", summary), content, open=opened)
