"""Rows of text set in columns."""

from __future__ import annotations

from collections.abc import Sequence


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
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def local(stamp: str | None) -> str:
    """An ISO 8601 time in the user's own zone, to the minute."""
    from residency.run.state import moment

    found = moment(stamp)
    return f"{found.astimezone():%Y-%m-%d %H:%M}" if found else ""
