"""Downloads on this disk, shared by every run and by processes that run at the same time.

    files/<sha256>/<name>       a download; its folder is its content's hash
    urls/<hash of a URL>.json   which content a URL gave
    parts/<hash of a URL>.part  a download under way, with what is known of it beside it
    unpacked/<sha256>/<what>/   files taken from an archive, there whole or not at all
    locks/                      one lock a URL and one an archive

Nothing is fetched twice, and a finished file is never changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.files import read_json, sha256_file, write_json

POLL_SECONDS = 0.2


def key_of(text: str) -> str:
    """A short name for a URL."""
    return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(frozen=True)
class Cache:
    """The cache in one folder."""

    folder: Path

    def part(self, key: str) -> Path:
        """The unfinished download of a URL."""
        return self.folder / "parts" / f"{key}.part"

    def unpacked(self, sha256: str, what: str) -> Path:
        """The folder for files of an archive; `what` says which."""
        return self.folder / "unpacked" / sha256 / key_of(what)[:16]

    def content(self, sha256: str) -> Path | None:
        """The file with that hash, or None. A file that was changed since does not count."""
        folder = self.folder / "files" / sha256
        if not folder.is_dir():
            return None
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.name.startswith(".") and self.sha256(path) == sha256:
                return path
        return None

    def known(self, key: str) -> dict[str, Any] | None:
        """What a URL gave before: `sha256`, `etag`, `name`."""
        found = read_json(self.folder / "urls" / f"{key}.json")
        return found if isinstance(found, dict) else None

    def add(self, part: Path, sha256: str, name: str, key: str, about: dict[str, Any]) -> Path:
        """File a finished download under its hash and remember which URL gave it."""
        target = self.folder / "files" / sha256 / (name or "file")
        target.parent.mkdir(parents=True, exist_ok=True)
        part.chmod(0o444)
        os.replace(part, target)
        self._remember(target, sha256, finished=True)
        write_json(self.folder / "urls" / f"{key}.json", {**about, "sha256": sha256, "name": target.name})
        return target

    def sha256(self, path: Path) -> str:
        """The hash of a file; taken from memory while its size and time are the same."""
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        memo = read_json(self._memo(path))
        if isinstance(memo, dict) and memo.get("stamp") == stamp:
            return str(memo["sha256"])
        return self._remember(path, sha256_file(path))

    def _memo(self, path: Path) -> Path:
        return self.folder / "hashes" / f"{key_of(str(path.absolute()))}.json"

    def _remember(self, path: Path, sha256: str, *, finished: bool = False) -> str:
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ino]
        # A file written within the last two seconds may change again under the same time.
        if finished or time.time_ns() - status.st_mtime_ns > 2_000_000_000:
            write_json(self._memo(path), {"path": str(path), "stamp": stamp, "sha256": sha256})
        return sha256

    @contextmanager
    def lock(self, key: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of `key`; another process that has it is waited for.

        The lock is the kernel's (flock): it ends with the process, however that ends.
        """
        path = self.folder / "locks" / f"{key}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as handle:
            told = False
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if waiting and not told:
                        waiting()
                        told = True
                    time.sleep(POLL_SECONDS)
            try:
                yield
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)
