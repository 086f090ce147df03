"""Figures, times and sizes as a reader sees them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from residency.report.compare import Comparison
from residency.report.scores import Score

_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


def clean(line: str) -> str:
    """Text from a log or a model without terminal sequences and control characters."""
    return _CONTROL.sub("", line.replace("\r\n", "\n").replace("\t", "    "))


def duration(seconds: float | None) -> str:
    """`0.4 s`, `12 s`, `3:05`, `1:02:09`, `2 d 3 h`; nothing for None."""
    if seconds is None or seconds != seconds or seconds < 0 or seconds == float("inf"):
        return ""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{second:02}"
    hours, minute = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}:{minute:02}:{second:02}"
    return f"{hours // 24} d {hours % 24} h"


def rate(per_second: float, unit: str = "step") -> str:
    """`1.9 s/step` below one a second, else `24 rows/s`."""
    if per_second <= 0:
        return ""
    if per_second < 1:
        return f"{number(1 / per_second, 2)} s/{unit}"
    return f"{number(per_second, 2)} {unit}s/s"


def number(value: float, digits: int = 4) -> str:
    """A figure to so many significant digits: `0.4123`, `12,431`, `9.1e-5`."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    size = abs(value)
    if size < 1e-3 or size >= 1e9:
        mantissa, exponent = f"{value:.{max(digits - 2, 0)}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}e{int(exponent)}"
    if size >= 10**digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def score(value: float) -> str:
    """A reward, three decimals, so that points stand below each other: `0.425`, `−0.100`."""
    return (f"{value:.3f}" if abs(value) < 100 else number(value)).replace("-", "−")


def size(count: float) -> str:
    """Bytes with a binary unit: `3.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 stage`, `6 stages`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def value(score: Score) -> str:
    """A score's figure: three decimals where it is a share, four digits otherwise."""
    return f"{score.value:.3f}" if -1 <= score.value <= 1 else number(score.value)


def interval(low: float | None, high: float | None, signed: bool = False) -> str:
    """`0.915 to 0.990`; nothing when there is none."""
    if low is None or high is None:
        return ""
    share = max(abs(low), abs(high)) <= 1
    if signed:
        return f"{low:+.3f} to {high:+.3f}" if share else f"{low:+.4g} to {high:+.4g}"
    return f"{low:.3f} to {high:.3f}" if share else f"{number(low)} to {number(high)}"


def percent(level: float) -> str:
    """`95 %`."""
    return f"{level * 100:.3g} %"


def difference(found: Comparison) -> str:
    """`+0.970`."""
    share = abs(found.difference) <= 1
    return f"{found.difference:+.3f}" if share else f"{found.difference:+.4g}"


def p_value(p: float) -> str:
    """`p = 0.03`, `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def verdict(found: Comparison) -> str:
    """What may be said of a difference, in a few words."""
    if found.low is None:
        return "no interval, so nothing can be said"
    return "a clear difference" if found.clear else "no clear difference"


def when(stamp: str) -> str:
    """An ISO 8601 time as `2026-03-01 12:04 UTC`; unchanged when it is none."""
    try:
        found = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def plain_value(item: Any) -> str:
    """A value of a recipe or a state on one line."""
    if item is None:
        return "null"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float):
        return number(item)
    if isinstance(item, dict):
        return ", ".join(f"{k}: {plain_value(v)}" for k, v in item.items())
    if isinstance(item, list | tuple):
        return ", ".join(plain_value(v) for v in item)
    return str(item)
