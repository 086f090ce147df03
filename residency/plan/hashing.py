"""Content hashes of files and folders, remembered between runs.

A file is hashed again only when its size, modification time or inode has changed, so that
planning over gigabytes of weights takes milliseconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from residency.files import read_json, sha256_file, write_json

RECENT_NS = 2_000_000_000
"""A file changed within the last two seconds is not remembered: it may change again
within the clock's resolution."""


class FileHashes:
    """The SHA-256 of files and folders, kept in one JSON file."""

    def __init__(self, store: Path) -> None:
        """`store`: the JSON file that remembers; unreadable content is the same as none."""
        self._store = store
        try:
            known = read_json(store)
        except ValueError:
            known = None
        self._known: dict[str, list[object]] = known if isinstance(known, dict) else {}
        self._changed = False

    def of(self, path: Path) -> str:
        """The hash of a file's bytes, or of a folder's file names and bytes.

        Raises FileNotFoundError when there is nothing at `path`.
        """
        if path.is_dir():
            digest = hashlib.sha256()
            for found in sorted(p for p in path.rglob("*") if p.is_file()):
                digest.update(f"{found.relative_to(path).as_posix()}\0{self._of_file(found)}\n".encode())
            return digest.hexdigest()
        return self._of_file(path)

    def _of_file(self, path: Path) -> str:
        key = str(path.resolve())
        stat = os.stat(key)
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        known = self._known.get(key)
        if known is not None and known[:3] == stamp:
            return str(known[3])
        found = sha256_file(path)
        import time

        if time.time_ns() - stat.st_mtime_ns > RECENT_NS:
            self._known[key] = [*stamp, found]
            self._changed = True
        return found

    def save(self) -> None:
        """Write what was learnt. A cache that cannot be written is no reason to stop."""
        if self._changed:
            with contextlib.suppress(OSError):
                write_json(self._store, self._known)
            self._changed = False
