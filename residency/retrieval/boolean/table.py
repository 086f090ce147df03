"""Sorted strings on disk, found by bisection without loading them.

A table is two arrays: all strings in UTF-8, one after the other, and where each starts. Both are mapped
into memory, so that opening takes no time and many processes share the pages.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np


class Table(Sequence[bytes]):
    """Strings in the order of their bytes; each has its number."""

    def __init__(self, blob: Any, offsets: Any) -> None:
        self._blob = memoryview(blob)
        self._offsets = offsets
        self._found: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: Any) -> Any:
        return bytes(self._blob[self._offsets[number] : self._offsets[number + 1]])

    def find(self, text: str) -> int:
        """The number of a string; -1 where it is not."""
        return self._find(text.encode("utf-8", "surrogatepass"))

    def _find(self, wanted: bytes) -> int:
        known = self._found.get(wanted)
        if known is None:
            at = bisect_left(self, wanted)
            known = at if at < len(self) and self[at] == wanted else -1
            if len(self._found) < 100_000:
                self._found[wanted] = known
        return known

    def prefixed(self, prefix: str) -> tuple[int, int]:
        """First and last-but-one number of the strings that begin so."""
        start = prefix.encode("utf-8", "surrogatepass")
        return bisect_left(self, start), bisect_left(self, start + b"\xff")

    def text(self, number: int) -> str:
        """A string by its number."""
        return str(self[number], "utf-8", "surrogatepass")

    def texts(self, first: int, last: int) -> Iterator[str]:
        """Strings first … last-1."""
        return (self.text(number) for number in range(first, last))


def pack(strings: Sequence[str]) -> tuple[Any, Any]:
    """The two arrays of a table of strings, which must be sorted by their bytes and differ."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in strings]
    assert all(a < b for a, b in pairwise(encoded)), "a table's strings are sorted"
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets
