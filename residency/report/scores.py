"""Scores and sample answers of an evaluation, as its stage leaves them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from residency.stats import SMALL_SAMPLE


@dataclass(frozen=True, slots=True)
class Score:
    """One figure of results.json."""

    task: str
    metric: str
    value: float
    n: int | None = None
    """Questions asked."""
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    """The level of the interval from `low` to `high`."""
    method: str = ""
    """How the interval was made: wilson, bootstrap."""
    unreadable: int | None = None
    """Answers that could not be read; they count as wrong."""
    limited: bool = False
    """True when only the first questions of the set were asked."""
    note: str | None = None

    @property
    def small(self) -> bool:
        """True when the sample is too small for more than a rough figure."""
        return self.n is not None and self.n < SMALL_SAMPLE

    @property
    def labels(self) -> list[str]:
        """What a reader must know beside the figure: `small sample`, `limited`."""
        return ["small sample"] * self.small + ["limited"] * self.limited


@dataclass(frozen=True, slots=True)
class Sample:
    """One question, the answer that was wanted and the answer that came."""

    task: str
    id: str
    prompt: str
    target: str
    output: str
    extracted: str | None
    """The answer as read from the output; None when it could not be read."""
    correct: bool | None
    """None where the task does not call a single answer right or wrong."""
    unreadable: bool
    values: Mapping[str, float]
    """Figures of this one answer by metric, where the stage left any."""
    lenient: bool | None = None
    """Right by the lenient reading; None where the task has none."""
    extracted_lenient: str | None = None


def text(value: Any) -> str:
    """A value of a sample as text; a missing one is empty."""
    if value is None:
        return ""
    return value if isinstance(value, str) else str(value)


def number(value: Any) -> float | None:
    """A finite number, or None for anything else (booleans are no numbers here)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if value == value and abs(value) != float("inf") else None


def integer(value: Any) -> int | None:
    """A whole number, or None."""
    found = number(value)
    return None if found is None else int(found)


def score(row: Mapping[str, Any]) -> Score | None:
    """One entry of `scores` in results.json; None when it holds no figure."""
    value = number(row.get("value"))
    if value is None:
        return None
    note = text(row.get("note"))
    found = Score(
        task=text(row.get("task")) or "?",
        metric=text(row.get("metric")) or "?",
        value=value,
        n=integer(row.get("n")),
        low=number(row.get("low")),
        high=number(row.get("high")),
        level=number(row.get("level")) or 0.95,
        method=text(row.get("method")),
        unreadable=integer(row.get("unreadable")),
        limited=bool(row.get("limited")),
        note=note or None,
    )
    # A note of no more than the size of the sample is what the labels say.
    return replace(found, note=None) if found.labels and _SIZE.match(note) else found


_SIZE = re.compile(r"n=\d+: a (small sample|smoke figure)")

LONGEST = 20_000
"""Characters of a prompt or an answer that a report keeps."""


def sample(row: Mapping[str, Any], position: int) -> Sample:
    """One row of samples.jsonl. A row without an id is known by its position."""

    def clipped(key: str) -> str:
        found = text(row.get(key))
        return (
            found
            if len(found) <= LONGEST
            else found[:LONGEST] + f"… ({len(found) - LONGEST:,} more characters)"
        )

    identity = row.get("id")
    extracted = row.get("extracted")
    known = {"task", "id", "correct", "unreadable", "correct_lenient"}
    values = {k: v for k, raw in row.items() if k not in known and (v := number(raw)) is not None}
    return Sample(
        task=text(row.get("task")) or "?",
        id=str(position) if identity is None else text(identity),
        prompt=clipped("prompt"),
        target=clipped("target"),
        output=clipped("output"),
        extracted=None if extracted is None else text(extracted)[:LONGEST],
        correct=None if row.get("correct") is None else bool(row["correct"]),
        unreadable=bool(row.get("unreadable")),
        values=values,
        lenient=bool(row["correct_lenient"]) if row.get("correct_lenient") is not None else None,
        extracted_lenient=text(row.get("extracted_lenient"))[:LONGEST] or None,
    )


def is_lenient(metric: str) -> bool:
    """Whether a metric is of the lenient reading: `accuracy_lenient`, `accuracy,lenient`."""
    return metric.endswith(("_lenient", ",lenient"))
