"""What every engine of study search offers: one call, one form of answer, two kinds of failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from residency.errors import EXIT_MISSING, EXIT_RECIPE, ResidencyError

Sort = Literal["relevance", "date"]
WINDOW = 100
"""Characters of a query that an error shows."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a query."""

    count: int
    """Records that match, also those beyond `retmax`."""
    pmids: tuple[str, ...]
    """The first `retmax` of them, in the order that was asked for."""
    translation: str
    """The query as it was understood; itself a query with the same answer."""
    warnings: tuple[str, ...] = ()
    """What was left out or not found, a sentence each."""


class QueryRejected(ResidencyError):
    """The query is wrong; a better one must be written. `position` is the character, from 0."""

    exit_code = EXIT_RECIPE

    def __init__(self, reason: str, position: int, query: str = "", hint: str | None = None) -> None:
        super().__init__(reason, hint)
        self.reason = reason
        self.position = position
        self.query = query

    def __reduce__(self) -> tuple[type[QueryRejected], tuple[str, int, str, str | None]]:
        """So that it passes from one process to another whole."""
        return type(self), (self.reason, self.position, self.query, self.hint)

    def caret(self) -> str:
        """The part of the query around the position, and a caret under it."""
        start = max(0, min(self.position - WINDOW // 2, len(self.query) - WINDOW))
        shown = self.query[start : start + WINDOW]
        before, after = "…" if start else "", "…" if start + WINDOW < len(self.query) else ""
        line = before + "".join(c if c.isprintable() else " " for c in shown) + after
        return f"{line}\n{' ' * (len(before) + self.position - start)}^"


class SearchUnavailable(ResidencyError):
    """The look-up itself failed (network, limit, server). It says nothing about the query."""

    exit_code = EXIT_MISSING

    def __reduce__(self) -> tuple[type[SearchUnavailable], tuple[str, str | None]]:
        """So that it passes from one process to another whole."""
        return type(self), (self.message, self.hint)


class StudySearch(Protocol):
    """Finds studies by a query in PubMed's language."""

    def search(
        self,
        query: str,
        *,
        retmax: int = 100,
        sort: Sort = "relevance",
        mindate: str | None = None,
        maxdate: str | None = None,
    ) -> Found:
        """The records that match.

        Args:
            query: In PubMed's language.
            retmax: How many PMIDs to give, best first; 0 for the count alone.
            sort: `relevance`, or `date` (newest first).
            mindate: First publication date that counts: YYYY, YYYY/MM or YYYY/MM/DD.
            maxdate: Last one.

        Raises:
            QueryRejected: The query is wrong.
            SearchUnavailable: The look-up failed.
        """
        ...
