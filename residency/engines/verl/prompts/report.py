"""What became of the rows of a stage's datasets: counts, and the lengths of the prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Count:
    """What became of the rows of one file."""

    read: int = 0
    kept: int = 0
    dropped: int = 0
    truncated: int = 0
    datasets: dict[str, int] = field(default_factory=dict)
    """Dataset → rows kept of it."""
    longest: list[tuple[int, str]] = field(default_factory=list)
    """The first few prompts that were too long: tokens, place."""
    tokens: list[int] = field(default_factory=list)
    """Length of each prompt kept."""
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def too_long(self) -> int:
        """Prompts that were longer than the limit."""
        return self.dropped + self.truncated

    def to_json(self) -> dict[str, Any]:
        """As data/report.json has it."""
        found: dict[str, Any] = {
            "read": self.read,
            "kept": self.kept,
            "dropped": self.dropped,
            "truncated": self.truncated,
            "datasets": self.datasets,
            "tokens": quantiles(self.tokens),
        }
        if self.longest:
            found["too_long"] = [{"tokens": n, "row": place} for n, place in self.longest]
        if self.left_out:
            found["columns_left_out"] = self.left_out
        return found


def quantiles(values: Iterable[int]) -> dict[str, int]:
    """min, p50, p90, p99, max (nearest rank) and the sum; {} of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    found = {"min": ordered[0]}
    for share in (50, 90, 99):
        found[f"p{share}"] = ordered[math.ceil(len(ordered) * share / 100) - 1]
    return {**found, "max": ordered[-1], "sum": sum(ordered)}


def said(report: Mapping[str, Any]) -> list[str]:
    """The report in sentences, for the log."""
    lines = []
    limit = report["max_prompt_length"]
    for name, what in (("train", "to train on"), ("val", "to validate on")):
        part = report.get(name)
        if not part:
            continue
        tokens = part["tokens"]
        line = f"{part['kept']} questions {what}, prompts of {tokens['min']} to {tokens['max']} tokens"
        if part["dropped"]:
            line += f"; {part['dropped']} longer than {limit} tokens left out"
        if part["truncated"]:
            line += f"; {part['truncated']} cut to {limit} tokens"
        lines.append(line)
        for column, why in part.get("columns_left_out", {}).items():
            lines.append(f"the column {column} is not given to reward functions: {why}")
    return lines
