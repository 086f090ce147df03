"""A dataset's rows into its file, or divided into the files of its parts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from residency.engines.processors.spec import Dataset
from residency.files import atomic
from residency.processing import Row
from residency.rows.formats import BadRow
from residency.rows.split import Split, assign, order_key

LABEL = "label"
MOST_LABELS = 50


@dataclass
class Writer:
    """Writes one dataset. Every file is there whole or not at all."""

    folder: Path
    dataset: Dataset
    short: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Part → (rows that it got, rows that were asked for), where there were too few."""
    left_over: int = 0
    """Rows that no part asked for."""

    def write(self, rows: Iterator[tuple[Row, bytes]]) -> list[dict[str, Any]]:
        """Write the rows, each given with its line of JSON; what each file holds."""
        if self.dataset.split is None:
            return [self._file(self.dataset.name, (line for _, line in rows))]
        return self._divided(rows, self.dataset.split)

    def _divided(self, rows: Iterator[tuple[Row, bytes]], split: Split) -> list[dict[str, Any]]:
        """Two passes: the rows to a file and their keys to memory, then each part from the file."""
        handle, name = tempfile.mkstemp(dir=self.folder, prefix="spool-", suffix=".jsonl")
        try:
            with os.fdopen(handle, "w+b") as spool:
                keys, strata, own, starts = _spool(rows, split, spool)
                parts = self._assign(keys, strata, own, split)
                self.left_over = parts.count(None)
                files = []
                for part, file in self.dataset.files.items():
                    # In the order of the keys: the first few are a fair sample of the whole.
                    chosen = sorted((i for i, p in enumerate(parts) if p == part), key=lambda i: (keys[i], i))
                    files.append(self._file(file, _lines(spool, [starts[i] for i in chosen])))
                return files
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def _assign(
        self, keys: list[int], strata: list[object], own: list[object], split: Split
    ) -> list[str | None]:
        """The part of each row."""
        if split.field is None:
            found = assign(keys, strata, split.parts)
            self.short = found.short
            return found.parts
        result: list[str | None] = [None] * len(keys)
        for part, size in split.parts.items():
            rows = [i for i, value in enumerate(own) if value == part]
            found = assign([keys[i] for i in rows], [strata[i] for i in rows], {part: size})
            self.short |= found.short
            for i, given in zip(rows, found.parts, strict=True):
                result[i] = given
        return result

    def _file(self, name: str, lines: Iterator[bytes]) -> dict[str, Any]:
        """One file, whole or not at all; nothing is written when there are no rows."""
        digest, n, size = hashlib.sha256(), 0, 0
        labels: Counter[str] | None = Counter()
        first = next(lines, None)
        if first is None:
            return {"name": name, "rows": 0}
        with atomic(self.folder / "outputs" / f"{name}.jsonl", "wb") as out:
            line: bytes | None = first
            while line is not None:
                out.write(line)
                digest.update(line)
                n, size = n + 1, size + len(line)
                labels = _count(labels, line)
                line = next(lines, None)
        counted = dict(sorted(labels.items())) if labels else {}
        return {"name": name, "rows": n, "bytes": size, "sha256": digest.hexdigest(), "labels": counted}


def _spool(
    rows: Iterator[tuple[Row, bytes]], split: Split, spool: IO[bytes]
) -> tuple[list[int], list[object], list[object], list[tuple[int, int]]]:
    """Write the rows; for each its key, stratum, own part, and (start, length) in the file."""
    keys: list[int] = []
    strata: list[object] = []
    own: list[object] = []
    places: list[tuple[int, int]] = []
    at = 0
    for row, line in rows:
        spool.write(line)
        places.append((at, len(line)))
        at += len(line)
        keys.append(order_key(split.seed, row.get(split.by) if split.by else row))
        strata.append(tuple(str(row.get(name)) for name in split.strata))
        own.append(row.get(split.field) if split.field else None)
    if split.stratify is None and len(set(strata)) > MOST_LABELS:
        strata = [None] * len(strata)  # a field named `label` that holds no labels
    return keys, strata, own, places


def _lines(spool: IO[bytes], places: list[tuple[int, int]]) -> Iterator[bytes]:
    """Lines of the file by their places."""
    for start, length in places:
        spool.seek(start)
        yield spool.read(length)


def to_line(row: Row) -> bytes:
    """A row as a line of JSON. Raises BadRow for what JSON does not know."""
    try:
        try:
            return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
        except UnicodeEncodeError:  # half of a character, which only an escape can write
            return json.dumps(row, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError):
        raise BadRow("a value that JSON does not know") from None


def _count(labels: Counter[str] | None, line: bytes) -> Counter[str] | None:
    """Count the row's label; None once there are too many to be labels."""
    if labels is None or b'"label"' not in line:
        return labels
    label = json.loads(line).get(LABEL)
    if isinstance(label, str | int | bool):
        labels[str(label)] += 1
    return labels if len(labels) <= MOST_LABELS else None
