"""What scoring a file of answers gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from residency.benchmark.figures import Figure
from residency.benchmark.problems import Problems


@dataclass
class Scored:
    """Figures, what they are made of, and what was wrong with the input."""

    figures: list[Figure]
    questions: list[dict[str, Any]]
    """Per question: `id` and its own scores, for paired tests."""
    problems: Problems = field(default_factory=Problems)

    def values(self) -> dict[str, float | None]:
        """Name → value."""
        return {one.name: one.value for one in self.figures}

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "scores": [one.to_json() for one in self.figures],
            "problems": self.problems.to_json(),
            "questions": self.questions,
        }
