"""Lays out a graph of stages as lines beside a list, as version histories are drawn.

Stages stand below each other in the order in which they ran; a line leads from each stage down
to those that use what it left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from residency.report.markup import Markup, tag

WIDTH = 18
"""Pixels from one line to the next; less where there are many."""
WIDEST = 108
"""Pixels for all lines, so that a telephone has room for the words."""
TOP = 26
"""Pixels from the top of a row to its dot."""


@dataclass(frozen=True, slots=True)
class Row:
    """The lines that one row shows, as positions counted from the left."""

    lane: int
    """Where its dot stands."""
    passing: tuple[int, ...]
    """Lines that come from above and go on below."""
    ending: tuple[int, ...]
    """Lines from above that lead into the dot."""
    starts: bool
    """True when a line leads down from the dot."""


def rows(needs: Mapping[str, Sequence[str]]) -> list[Row]:
    """The row of each stage; `needs` is in the order of the run. Unknown needs are passed over."""
    order = list(needs)
    last_use: dict[str, int] = {}
    for place, name in enumerate(order):
        for need in needs[name]:
            if need in order[:place]:
                last_use[need] = place
    lanes: list[str | None] = []
    found = []
    for place, name in enumerate(order):
        ending = [i for i, owner in enumerate(lanes) if owner and owner in needs[name]]
        over = [i for i in ending if last_use[str(lanes[i])] == place]
        for i in over:
            lanes[i] = None
        busy = [i for i, owner in enumerate(lanes) if owner]
        lane = over[0] if over else next((i for i, owner in enumerate(lanes) if owner is None), len(lanes))
        if lane == len(lanes):
            lanes.append(None)
        found.append(Row(lane, tuple(busy), tuple(ending), name in last_use))
        if name in last_use:
            lanes[lane] = name
    return found


def step(lanes: int) -> float:
    """Pixels from one line to the next when there are so many."""
    return min(WIDTH, WIDEST / max(lanes, 1))


def draw(row: Row, lanes: int, status: str) -> Markup:
    """The lines of one row, `lanes` of them; they are as tall as the row."""
    apart = step(lanes)

    def x(lane: int) -> float:
        return WIDTH / 2 + lane * apart

    lines = [tag("line", x1=x(lane), x2=x(lane), y1=0, y2="100%") for lane in row.passing]
    for lane in row.ending:
        bend = f"M{x(lane):g} 0C{x(lane):g} {TOP * 0.7} {x(row.lane):g} {TOP * 0.3} {x(row.lane):g} {TOP}"
        lines.append(tag("path", d=bend))
    if row.starts:
        lines.append(tag("line", x1=x(row.lane), x2=x(row.lane), y1=TOP, y2="100%"))
    dot = tag("circle", cx=x(row.lane), cy=TOP, r=6, class_=f"node {status}")
    return tag("svg", lines, dot, style=f"width:{width(lanes):g}px", class_="rail", aria_hidden="true")


def width(lanes: int) -> float:
    """Pixels that the lines of every row take."""
    return WIDTH + (lanes - 1) * step(lanes)
