"""A stage's log: whole lines of valid UTF-8, progress bars folded, secrets masked.

Standard library only; the supervisor uses it.
"""

from __future__ import annotations

import re
from pathlib import Path

from residency.run.redact import Redactor

LONGEST_LINE = 1 << 20
"""Bytes. A longer line is written in parts, so that memory stays bounded."""
BAR_SECONDS = 10.0
"""A progress bar that is being redrawn is written down as a line this often."""

_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


class LineFolder:
    """Turns what a command prints, in pieces of any size, into the bytes of its log.

    `\\r` returns to the start of the line, so of `10%\\r20%\\r30%\\n` the log keeps `30%`; a bar
    that is still being redrawn is written every BAR_SECONDS. Terminal colours are left out.
    """

    def __init__(self, redactor: Redactor, now: float = 0.0) -> None:
        self._redactor = redactor
        self._rest = b""
        self._bar_written = now

    def feed(self, data: bytes, now: float) -> bytes:
        """The lines that are complete with `data`; `now` in seconds on any clock."""
        block, newline, self._rest = (self._rest + data).rpartition(b"\n")
        out = self._clean(block + newline)
        if b"\r" in self._rest:
            self._rest = _last_state(self._rest)
            if now - self._bar_written >= BAR_SECONDS:
                self._bar_written = now
                out += self._clean(self._rest.rstrip(b"\r") + b"\n")
        if len(self._rest) > LONGEST_LINE:
            # Whole secrets are masked first; the start of one may be at the very end.
            text = self._redactor.data(self._rest)
            cut = len(text) - self._redactor.longest
            out += self._clean(text[:cut] + b"\n")
            self._rest = text[cut:]
        return out

    def finish(self) -> bytes:
        """What is left when the command has closed its output."""
        rest, self._rest = self._rest, b""
        return self._clean(rest + b"\n") if rest.strip() else b""

    def _clean(self, block: bytes) -> bytes:
        if not block:
            return b""
        if b"\r" in block:
            lines = block.split(b"\n")
            block = b"\n".join(_last_state(line).rstrip(b"\r") if b"\r" in line else line for line in lines)
        if b"\x1b" in block:
            block = _ESCAPES.sub(b"", block)
        if b"\0" in block:
            block = block.replace(b"\0", b"")
        block = self._redactor.data(block)
        try:
            block.decode()
        except UnicodeDecodeError:
            block = block.decode("utf-8", "replace").encode()
        return block


def _last_state(line: bytes) -> bytes:
    """What a terminal would show of a line with `\\r` in it; a `\\r` at its end is kept."""
    shown = line.rstrip(b"\r")
    return shown.rpartition(b"\r")[2] + line[len(shown) :]


def tail(path: Path, start: int = 0, size: int = 1 << 16) -> str:
    """The last `size` bytes of a file, not before the byte `start`, from the start of a line."""
    try:
        with path.open("rb") as stream:
            end = stream.seek(0, 2)
            begin = max(start, end - size, 0)
            stream.seek(begin)
            data = stream.read(end - begin)
    except OSError:
        return ""
    if begin > start and b"\n" in data:
        data = data.partition(b"\n")[2]
    return data.decode("utf-8", "replace")


class Follower:
    """Reads the lines that have been added to a file since the last look."""

    def __init__(self, path: Path, start: int = 0) -> None:
        self._path = path
        self._at = start
        self._rest = b""

    def lines(self, limit: int = 1 << 22) -> list[str]:
        """The complete lines added since, of at most `limit` bytes."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._at)
                data = stream.read(limit)
        except OSError:
            return []
        if not data:
            return []
        self._at += len(data)
        block, newline, self._rest = (self._rest + data).rpartition(b"\n")
        return block.decode("utf-8", "replace").split("\n") if newline else []
