"""Answers kept one by one, so that what was killed asks nothing twice."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SYNC_SECONDS = 1.0
"""How often what was written is forced to the disk: a killed process loses nothing, a dead machine this."""


class Kept:
    """The file of kept answers: a line that says for what, then a line for each answer, `{"key", …}`.

    Appending is the one way it changes. A last line that was cut off is dropped when it is opened.
    Safe to be used from many threads.
    """

    def __init__(self, path: Path, purpose: str) -> None:
        """Read what is there; a file kept for another purpose is begun anew."""
        self.path = path
        self.rows: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        header, whole = self._read()
        if header != purpose:
            self.rows, whole = {}, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("ab")
        self._stream.truncate(whole)
        self._synced = time.monotonic()
        if not whole:
            self._append({"purpose": purpose})

    def _read(self) -> tuple[str | None, int]:
        purpose, whole = None, 0
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None, 0
        for line in data.splitlines(keepends=True):
            row = _row(line)
            if row is None:
                break
            whole += len(line)
            purpose = row.get("purpose", purpose)
            if "key" in row:
                self.rows[str(row["key"])] = row
        return purpose, whole

    def _append(self, row: Mapping[str, Any]) -> None:
        try:
            line = json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half of a character, which only an escape can write
            line = json.dumps(row).encode()
        self._stream.write(line + b"\n")
        self._stream.flush()
        now = time.monotonic()
        if now - self._synced >= SYNC_SECONDS:
            self._synced = now
            os.fsync(self._stream.fileno())

    def add(self, key: str, row: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an answer; returns the row as it is kept."""
        kept = {"key": key, **row}
        with self._lock:
            self.rows[key] = kept
            self._append(kept)
        return kept

    def close(self) -> None:
        """Force what was written to the disk and close the file."""
        with self._lock:
            os.fsync(self._stream.fileno())
            self._stream.close()


def count(path: Path) -> int:
    """How many answers a file keeps; 0 where there is none."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError:
        return 0
    found: set[str] = set()
    for line in lines:
        row = _row(line)
        if row is None:
            break
        if "key" in row:
            found.add(str(row["key"]))
    return len(found)


def _row(line: bytes) -> dict[str, Any] | None:
    """A whole line's row, or None."""
    if not line.endswith(b"\n"):
        return None
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
