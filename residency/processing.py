"""What a processor is: a generator over rows that says what it did with them.

A processor is a generator function that a recipe names by dotted path:

    def shorter(rows: Iterator[Row], *, words: int = 100, report: Report | None = None) -> Iterator[Row]:

It takes rows (dictionaries) one by one, takes its arguments by keyword, each with a default
and a type, and gives rows on. With `@reads_files` it is a reader: it gets one row per file,
`{"path": "/…/pubmed20n0014.xml.gz", "source": "pubmed"}`, instead of the file's own rows.

`launch.py check` holds a recipe's values against the types: `Literal["keep", "drop"]`,
`int | None`, `Sequence[str]`. `Allowed` in `Annotated` says more, in the words of JSON Schema:
`Annotated[int, Allowed(minimum=1)]`. `Field` is the name of a field of the rows that come in, which
the check compares with what `@gives` says of the processor before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

Row = dict[str, Any]
Processor = Callable[..., Iterator[Row]]


class Allowed:
    """Beside a type in `Annotated`: what else is asked of a value, in the words of JSON Schema."""

    def __init__(self, **keywords: Any) -> None:
        self.json_schema = keywords

    def __repr__(self) -> str:
        return f"Allowed({', '.join(f'{key}={value!r}' for key, value in self.json_schema.items())})"


FIELD = {"minLength": 1, "x-field": True}
Field = Annotated[str, Allowed(**FIELD)]
"""An argument that names a field of the rows; `a.b` is one inside another."""
Positive = Annotated[int, Allowed(minimum=1)]
"""A count of one or more."""
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


def gives(*names: str, keeps: bool = False, argument: str | None = None) -> Callable[[_F], _F]:
    """Say which fields a processor's rows can have, so that a misspelt one is found before it runs.

    Args:
        names: Fields by name.
        keeps: The fields of the rows that come in stay.
        argument: An argument whose value names more: a field, a list of them, the keys of a
            mapping; `{old: new}` of `rename` names both.
    """

    def mark(function: _F) -> _F:
        # A plain value, which the check's child process hands over as JSON.
        function.row_fields = {"names": list(names), "keeps": keeps, "argument": argument}  # type: ignore[attr-defined]
        return function

    return mark
