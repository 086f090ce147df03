"""Charts as SVG that stretches to any width, with labels as ordinary text over it.

The drawing is stretched (`preserveAspectRatio="none"`) and its strokes are not
(`vector-effect`), so that one drawing serves a telephone, a desktop and paper, and text keeps
its size. `page.js` adds the values under the pointer, from the numbers in `data-chart`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from residency.report import wording
from residency.report.markup import Markup, tag

Point = tuple[float, float]
MOST_POINTS = 800
"""Points drawn of one line; more are drawn as the lowest and highest of each stretch."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a chart."""

    name: str
    points: Sequence[Point]
    role: str
    """Its class: `train`, `eval` or `other`."""
    smooth: bool = False
    """Draw the points faintly under their smoothed line."""
    band: Sequence[tuple[float, float]] = ()
    """For each point the lower and the upper edge of an area drawn behind the line."""


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) that cover `low` to `high`."""
    if not high > low:
        high, low = low + (abs(low) or 1) * 0.5, low - (abs(low) or 1) * 0.5
    raw = (high - low) / max(wanted - 1, 1)
    power = 10 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean over about a tenth of the run around each value; narrower near the ends.

    A window on both sides does not lag behind a falling loss, as a running mean does.
    """
    reach = max(2, len(values) // 20)
    sums = [0.0, *itertools.accumulate(values)]
    found = []
    for place in range(len(values)):
        side = min(reach, place, len(values) - 1 - place)
        found.append((sums[place + side + 1] - sums[place - side]) / (2 * side + 1))
    return found


def thinned(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points: of each stretch the lowest and the highest, so that no spike is lost."""
    if len(points) <= most:
        return list(points)
    stretches = most // 2
    kept: list[Point] = []
    for place in range(stretches):
        part = points[place * len(points) // stretches : (place + 1) * len(points) // stretches]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept.extend(sorted(ends))
    return kept


def line_chart(
    series: Sequence[Series],
    label: str,
    marks: Sequence[tuple[float, str]] = (),
    *,
    most: int = MOST_POINTS,
) -> Markup | None:
    """Lines over steps.

    Args:
        series: The lines; those without points are passed over.
        label: The chart's title.
        marks: Steps with a word: where a run was resumed.
        most: Points drawn of one line.

    Returns:
        The chart, or None when there is nothing to draw.
    """
    series = [s for s in series if s.points]
    if not series:
        return None
    xs = [x for s in series for x, _ in s.points]
    ys = [y for s in series for _, y in s.points] + [edge for s in series for ends in s.band for edge in ends]
    left, right = min(xs), max(xs)
    if left == right:
        reach = max(1.0, abs(left) / 2)
        left, right = left - reach, right + reach
    levels = ticks(min(ys), max(ys))
    if min(ys) >= 0:
        levels = [level for level in levels if level >= 0]
    low, high = levels[0], levels[-1]

    def place(point: Point) -> tuple[float, float]:
        return (point[0] - left) / (right - left) * 1000, (high - point[1]) / (high - low) * 1000

    drawn: list[Markup] = [
        tag("line", x1=0, x2=1000, y1=place((left, level))[1], y2=place((left, level))[1], class_="grid")
        for level in levels
    ]
    inside = [(x, word) for x, word in marks if left <= x <= right]
    for x, _ in inside:
        at = place((x, low))[0]
        drawn.append(tag("line", x1=at, x2=at, y1=0, y2=1000, class_="mark"))
    drawn += [_band(s, place) for s in series if s.band]
    data = []
    for s in series:
        points = thinned(s.points, most)
        if s.smooth and len(s.points) > 12:
            drawn.append(_line([place(p) for p in points], f"line raw {s.role}"))
            means = smoothed([y for _, y in s.points])
            even = thinned([(x, y) for (x, _), y in zip(s.points, means, strict=True)], most)
            drawn.append(_line([place(p) for p in even], f"line {s.role}"))
        else:
            drawn.append(_line([place(p) for p in points], f"line {s.role}"))
            if len(points) <= 25:
                drawn.extend(_dot(*place(p), s.role) for p in points)
        edges = {x: ends for (x, _), ends in zip(s.points, s.band, strict=False)}
        told = [[x, *(float(f"{v:.6g}") for v in (y, *edges.get(x, ())))] for x, y in points]
        data.append({"name": s.name, "role": s.role, "points": told})
    wanted = [t for t in ticks(left, right) if left <= t <= right and float(t).is_integer()]
    legend = [
        tag(
            "span",
            tag("i", class_=f"key {s.role}"),
            s.name if len(series) > 1 else "at the end",
            tag("b", f" {wording.number(s.points[-1][1])}"),
        )
        for s in series
    ]
    chart = {"left": left, "right": right, "low": low, "high": high, "series": data}
    last = "; ".join(f"{s.name} ends at {wording.number(s.points[-1][1])}" for s in series)
    return tag(
        "figure",
        tag("figcaption", tag("span", label, class_="chart-title"), tag("span", legend, class_="legend")),
        tag(
            "div",
            tag(
                "div",
                [
                    tag("span", wording.number(v), style=f"top:{place((left, v))[1] / 10:.2f}%")
                    for v in levels
                ],
                class_="y-axis",
                aria_hidden="true",
            ),
            tag(
                "div",
                tag("svg", drawn, viewBox="0 0 1000 1000", preserveAspectRatio="none", aria_hidden="true"),
                [_mark_label(place((x, low))[0], word) for x, word in inside],
                tag("div", class_="cursor", hidden=True),
                tag("div", class_="tip", role="status", hidden=True),
                class_="plot",
                tabindex=0,
                role="img",
                aria_label=f"{label} over steps {wording.number(left)} to {wording.number(right)}: {last}",
                data_chart=json.dumps(chart, separators=(",", ":")),
            ),
            tag(
                "div",
                [
                    tag("span", wording.number(v), style=f"left:{place((v, low))[0] / 10:.2f}%")
                    for v in wanted
                ],
                class_="x-axis",
                aria_hidden="true",
            ),
            class_="chart-body",
        ),
        class_="chart",
    )


def _band(series: Series, place: Callable[[Point], Point]) -> Markup:
    """The area between the edges, smoothed where the line is."""
    lows, highs = ([ends[i] for ends in series.band] for i in (0, 1))
    if series.smooth and len(lows) > 12:
        lows, highs = smoothed(lows), smoothed(highs)
    edges = list(zip((x for x, _ in series.points), lows, highs, strict=False))
    edges = edges[:: max(1, len(edges) // 200)] + edges[-1:]
    corners = [place((x, high)) for x, _, high in edges] + [place((x, low)) for x, low, _ in reversed(edges)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    return tag("polygon", points=points, class_=f"band {series.role}")


def _mark_label(at: float, word: str) -> Markup:
    return tag("span", word, class_="mark-label" + " left" * (at > 600), style=f"left:{at / 10:.2f}%")


def _line(points: Sequence[Point], class_: str) -> Markup:
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def _dot(x: float, y: float, role: str) -> Markup:
    # A line of no length with a round cap: a dot that stays round when the drawing is stretched.
    return tag("path", d=f"M{x:.1f} {y:.1f}h0", class_=f"dot {role}")


@dataclass(frozen=True, slots=True)
class Dot:
    """One row of a dot plot."""

    label: str
    value: float
    low: float | None
    high: float | None
    text: str
    """The figure in words."""
    role: str
    """Its class: `before`, `between` or `after`."""

    @property
    def is_share(self) -> bool:
        """Whether it and its interval lie within 0 and 1."""
        return all(0 <= v <= 1 for v in (self.value, self.low, self.high) if v is not None)


def dot_plots(groups: Sequence[tuple[str, Sequence[Dot]]], label: str) -> list[Markup]:
    """Groups of shares on one plot from 0 to 1; any other group on a plot of its own."""
    shares = [group for group in groups if all(dot.is_share for dot in group[1])]
    others = [group for group in groups if group not in shares]
    return [dot_plot(plot, label) for plot in ([shares] if shares else []) + [[group] for group in others]]


def dot_plot(groups: Sequence[tuple[str, Sequence[Dot]]], label: str) -> Markup:
    """Figures with their intervals on one scale, grouped under titles."""
    ends = [v for _, dots in groups for d in dots for v in (d.value, d.low, d.high) if v is not None]
    share = min(ends) >= 0 and max(ends) <= 1
    levels = [0.0, 0.25, 0.5, 0.75, 1.0] if share else ticks(min(ends), max(ends))
    low, high = levels[0], levels[-1]

    def at(value: float) -> float:
        return (value - low) / (high - low) * 100

    def row(dot: Dot) -> Markup:
        bar = None
        if dot.low is not None and dot.high is not None:
            style = f"left:{at(dot.low):.2f}%;width:{at(dot.high) - at(dot.low):.2f}%"
            bar = tag("span", class_=f"span {dot.role}", style=style)
        return tag(
            "div",
            tag("span", dot.label, class_="dot-label"),
            tag(
                "span",
                [tag("span", class_="dot-grid", style=f"left:{at(v):.2f}%") for v in levels],
                bar,
                tag("span", class_=f"point {dot.role}", style=f"left:{at(dot.value):.2f}%"),
                class_="track",
                aria_hidden="true",
            ),
            tag("span", dot.text, class_="dot-value"),
            class_="dot-row",
        )

    axis = tag(
        "div",
        tag("span", class_="dot-label"),
        tag(
            "span",
            [tag("span", wording.number(v), style=f"left:{at(v):.2f}%") for v in levels],
            class_="track axis",
        ),
        tag("span", class_="dot-value"),
        class_="dot-row",
        aria_hidden="true",
    )
    return tag(
        "div",
        [tag("div", tag("h4", title), [row(d) for d in dots], class_="dot-group") for title, dots in groups],
        axis,
        class_="dots",
        role="group",
        aria_label=label,
    )
