"""What is wrong with a file of questions: counted by kind, with the first few places of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 5
"""How many places of each kind are named."""


@dataclass
class Problems:
    """What was found wrong, and what was done with it: kind → how often, and where."""

    counts: dict[str, int] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, place: object) -> None:
        """Count one more of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        named = self.places.setdefault(kind, [])
        if len(named) < EXAMPLES:
            named.append(str(place)[:200])

    def merge(self, other: Problems, prefix: str = "") -> None:
        """Take in what another reader found."""
        for kind, count in other.counts.items():
            name = prefix + kind
            self.counts[name] = self.counts.get(name, 0) + count
            named = self.places.setdefault(name, [])
            named += other.places[kind][: EXAMPLES - len(named)]

    def to_json(self) -> list[dict[str, Any]]:
        """The kinds, the most frequent first."""
        ordered = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return [{"problem": kind, "n": n, "where": self.places[kind]} for kind, n in ordered]

    def lines(self) -> Iterator[str]:
        """The kinds as text, one a line."""
        for row in self.to_json():
            more = ", …" if row["n"] > len(row["where"]) else ""
            yield f"{row['n']} × {row['problem']}: {', '.join(row['where'])}{more}"

    def __bool__(self) -> bool:
        return bool(self.counts)
