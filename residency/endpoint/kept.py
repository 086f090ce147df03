"""Answers kept one by one, so that what was killed asks nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency import journal
from residency.journal import Journal

SYNC_SECONDS = 1.0
"""Answers come often: what a dead machine may lose of them."""


class Kept:
    """The file of kept answers, a row `{"key", …}` each. Safe to be used from many threads."""

    def __init__(self, path: Path, purpose: str) -> None:
        """Read what is there; a file kept for another purpose is begun anew."""
        self.path = path
        self._journal = Journal(path, purpose, sync_seconds=SYNC_SECONDS)
        self.rows: dict[str, dict[str, Any]] = _by_key(self._journal.found)

    def add(self, key: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an answer; returns the row as it is kept."""
        kept = {"key": key, **row}
        self.rows[key] = kept
        self._journal.append(kept)
        return kept

    def close(self) -> None:
        """Force what was written to the disk and close the file."""
        self._journal.close()


def count(path: Path) -> int:
    """How many answers a file keeps; 0 where there is none."""
    return len(_by_key(journal.rows(path)))


def _by_key(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(row["key"]): row for row in rows if "key" in row}
