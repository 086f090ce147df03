"""What a processor is: a generator over rows that says what it did with them.

A processor is a generator function that a recipe names by dotted path:

    def shorter(rows: Iterator[Row], *, words: int = 100, report: Report | None = None) -> Iterator[Row]:

It takes rows (dictionaries) one by one, takes its arguments by keyword, each with a default
and a type, and gives rows on. With `@reads_files` it is a reader: it gets one row per file,
`{"path": "/…/pubmed20n0014.xml.gz", "source": "pubmed"}`, instead of the file's own rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

Row = dict[str, Any]
Processor = Callable[..., Iterator[Row]]
_F = TypeVar("_F", bound=Callable[..., Any])

EXAMPLES = 5
"""How many examples of each reason to drop a row are kept."""


@dataclass
class Report:
    """How many rows a processor read, kept and dropped, and why."""

    read: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason → how many."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """Reason → the first few that were dropped for it: a PMID, or `file.jsonl:12`."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Anything else worth knowing, such as counts by label."""

    def drop(self, reason: str, example: object = None) -> None:
        """Count a row that goes no further."""
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
        if example is not None:
            shown = self.examples.setdefault(reason, [])
            if len(shown) < EXAMPLES:
                shown.append(str(example)[:200])

    def to_json(self) -> dict[str, Any]:
        """The report as outputs/report.json has it."""
        dropped = [
            {"reason": reason, "n": n, "examples": self.examples.get(reason, [])}
            for reason, n in sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        ]
        found: dict[str, Any] = {"read": self.read, "kept": self.kept, "dropped": dropped}
        if self.notes:
            found["notes"] = self.notes
        return found


def reads_files(function: _F) -> _F:
    """Mark a processor as a reader: its rows are files, each with `path` and `source`."""
    function.reads_files = True  # type: ignore[attr-defined]
    return function
