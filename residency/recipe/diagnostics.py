"""What `check` says of a recipe: one diagnostic a mistake, gathered and given all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from residency.recipe.nodes import Node, Span

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake: where, which (`code`, stable), what is wrong, what to do (`hint`)."""

    code: str
    """A stable code listed in docs/diagnostics.md, such as `unknown-key`."""
    message: str
    span: Span
    hint: str | None = None
    severity: Severity = "error"
    notes: tuple[tuple[str, Span], ...] = ()
    """Other places that matter, each with what it is: `first written here`."""

    def to_json(self) -> dict[str, Any]:
        """The diagnostic as `check --format json` prints it."""
        return {
            "file": self.span.file,
            "line": self.span.line,
            "column": self.span.column,
            "end_column": self.span.end_column,
            "severity": self.severity,
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
        }


@dataclass
class Diagnostics:
    """The diagnostics of one check, and the texts that they point into."""

    items: list[Diagnostic] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    """File (or command-line option) → its text, for the snippets."""

    def add(
        self,
        code: str,
        message: str,
        where: Span | Node,
        *,
        hint: str | None = None,
        severity: Severity = "error",
        notes: Iterable[tuple[str, Span]] = (),
    ) -> None:
        """Record a mistake at a span or at a node.

        A node whose value came through an interpolation is reported where the value was
        written, with a note at the place that uses it; once, however many places use it.
        """
        all_notes = tuple(notes)
        if not isinstance(where, Span):
            if where.via is not None and where.via != where.span:
                if any(item.code == code and item.span == where.span for item in self.items):
                    return
                all_notes = (*all_notes, ("used here", where.via))
            where = where.span
        found = Diagnostic(code, message, where, hint, severity, all_notes)
        if found not in self.items:
            self.items.append(found)

    def extend(self, other: Diagnostics | Iterable[Diagnostic]) -> None:
        """Take over another's diagnostics (and its texts)."""
        if isinstance(other, Diagnostics):
            self.sources.update(other.sources)
            other = other.items
        for item in other:
            if item not in self.items:
                self.items.append(item)

    @property
    def ok(self) -> bool:
        """True when no error was found; warnings do not count."""
        return not any(item.severity == "error" for item in self.items)

    def __iter__(self) -> Iterator[Diagnostic]:
        """In the order of the text: by file, line, column."""
        return iter(sorted(self.items, key=lambda d: (d.span.file, d.span.line, d.span.column, d.code)))

    def to_json(self) -> dict[str, Any]:
        """The whole as `check --format json` prints it."""
        return {"ok": self.ok, "diagnostics": [item.to_json() for item in self]}
