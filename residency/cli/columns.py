"""Rows of text set in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

GAP = "  "


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = (), indent: str = "") -> str:
    """The rows with each column as wide as its widest cell; columns in `right` are set to the right."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((indent + GAP.join(cells)).rstrip())
    return "\n".join(lines)


def fitted(
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    cut: Mapping[int, int],
    drop: Sequence[int] = (),
    right: Sequence[int] = (),
) -> str:
    """Columns no wider together than `width`, where that can be had.

    Args:
        rows: The cells.
        width: Characters in a line.
        cut: Column → the width that it keeps at least. The last named is cut first, and at its
            start, since a figure stands at its end; others are cut at their end.
        drop: Columns that can go, those first that are missed least.
        right: Columns set to the right.
    """
    kept = list(range(len(rows[0])))
    for gone in (None, *drop):
        kept = [i for i in kept if i != gone]
        widths = {i: max(len(row[i]) for row in rows) for i in kept}
        over = sum(widths.values()) + len(GAP) * (len(kept) - 1) - width
        for i, least in reversed(cut.items()):
            if i in widths and over > 0:
                less = min(over, max(0, widths[i] - least))
                widths[i] -= less
                over -= less
        if over <= 0:
            break
    last = list(cut)[-1]
    shown = [[_cut(row[i], widths[i], start=i == last) for i in kept] for row in rows]
    return columns(shown, right=[n for n, i in enumerate(kept) if i in right])


def _cut(text: str, width: int, *, start: bool) -> str:
    if len(text) <= width:
        return text
    return "…" + text[len(text) - width + 1 :] if start else text[: width - 1] + "…"


def local(stamp: str | None) -> str:
    """An ISO 8601 time in the user's own zone, to the minute."""
    from residency.run.state import moment

    found = moment(stamp)
    return f"{found.astimezone():%Y-%m-%d %H:%M}" if found else ""
