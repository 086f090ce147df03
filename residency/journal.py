"""Files that only grow, a row a line, so that what was killed goes on where it was."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Journal:
    """A line that says what the rows are kept for, then a line a row.

    Appending is the one way it changes. A last line that was cut off is dropped when it is opened,
    and a file kept for another purpose is begun anew. Safe to be used from many threads.
    """

    def __init__(self, path: Path, purpose: str, *, sync_seconds: float = 0.0) -> None:
        """Read what is there.

        Args:
            path: The file.
            purpose: What its rows are kept for.
            sync_seconds: How often at most what was written is forced to the disk. A killed process
                loses nothing, a dead machine this much.
        """
        self.path = path
        self._lock = threading.Lock()
        self._sync_seconds = sync_seconds
        rows, whole = _read(path)
        if not rows or rows[0].get("purpose") != purpose:
            rows, whole = [], 0
        self.found: list[dict[str, Any]] = rows[1:]
        """The rows of earlier attempts."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("ab")
        self._stream.truncate(whole)
        self._synced = time.monotonic()
        if not whole:
            self.append({"purpose": purpose})

    def append(self, row: Mapping[str, Any]) -> None:
        """Write a row."""
        try:
            line = json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half of a character, which only an escape can write
            line = json.dumps(row).encode()
        with self._lock:
            self._stream.write(line + b"\n")
            self._stream.flush()
            now = time.monotonic()
            if now - self._synced >= self._sync_seconds:
                self._synced = now
                os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Force what was written to the disk and close the file."""
        with self._lock:
            os.fsync(self._stream.fileno())
            self._stream.close()


def rows(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a file but the line that says what they are for; none where there is no file."""
    return _read(path)[0][1:]


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The rows up to the first that is no whole one, and how many bytes they take."""
    found: list[dict[str, Any]] = []
    whole = 0
    try:
        data = path.read_bytes()
    except OSError:
        return found, whole
    for line in data.splitlines(keepends=True):
        try:
            row = json.loads(line) if line.endswith(b"\n") else None
        except ValueError:
            row = None
        if not isinstance(row, dict):
            break
        whole += len(line)
        found.append(row)
    return found, whole
