"""Records of many files put into PMID order, the last version of each, in bounded memory.

Each file goes through a spool: sorted runs of lines on the disk, a few tens of megabytes each in memory.
`merged` then goes through all runs at once. A line is

    PMID <tab> version <tab> file's number <tab> place in the file <tab> JSON

and its JSON is a row, or `{"deleted": true}`, or `{"dropped": "why"}` for a record that the filters do not
take: it must still displace its older versions, so that none of them comes back.
"""

from __future__ import annotations

import heapq
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.processing import Report

RUN_BYTES = 48 * 1024 * 1024
"""JSON of one run; Python's own copy of it takes about twice that."""
MOST_RUNS = 128
"""Runs that are read at once; more are merged in two rounds."""
Line = tuple[int, int, int, int, bytes]


@dataclass
class Spool:
    """Takes the records of one file after the other; `close` gives the runs."""

    folder: Path
    run_bytes: int = RUN_BYTES
    runs: list[Path] = field(default_factory=list)
    _lines: list[Line] = field(default_factory=list)
    _bytes: int = 0

    def add(self, pmid: int, version: int, file: int, place: int, value: dict[str, Any]) -> None:
        """Add one record."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        self._lines.append((pmid, version, file, place, text))
        self._bytes += len(text) + 100
        if self._bytes >= self.run_bytes:
            self._write()

    def close(self) -> list[Path]:
        """Write what is left; the runs."""
        if self._lines:
            self._write()
        return self.runs

    def _write(self) -> None:
        self._lines.sort(key=lambda line: line[:4])
        path = self.folder / f"run-{len(self.runs):05d}.zst"
        write_run(path, self._lines)
        self.runs.append(path)
        self._lines, self._bytes = [], 0


def write_run(path: Path, lines: Iterable[Line]) -> None:
    """Write sorted lines."""
    import pyarrow as pa

    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.output_stream(str(path), compression="zstd") as raw, io.BufferedWriter(raw, 1 << 20) as out:
        for pmid, version, file, place, text in lines:
            out.write(b"%d\t%d\t%d\t%d\t%b\n" % (pmid, version, file, place, text))


def read_run(path: Path) -> Iterator[Line]:
    """The lines of a run."""
    import pyarrow as pa

    with pa.input_stream(str(path), compression="zstd") as raw:
        for line in io.BufferedReader(raw, 1 << 20):
            pmid, version, file, place, text = line.removesuffix(b"\n").split(b"\t", 4)
            yield int(pmid), int(version), int(file), int(place), text


def merged(runs: Iterable[Path], folder: Path, report: Report) -> Iterator[dict[str, Any]]:
    """The last version of each record, in PMID order.

    Of one version of a record the one in the last file counts, and in a file the last one. A deletion
    removes the version that it names; the highest version that is left is the record.

    Args:
        runs: The runs of every file.
        folder: Where runs may be put together when there are many.
        report: Counts what was kept and what was dropped, and why.
    """
    lines = heapq.merge(*map(read_run, _few(list(runs), folder)), key=_order)
    for pmid, group in itertools.groupby(lines, key=lambda line: line[0]):
        last: dict[int, dict[str, Any]] = {}
        records = 0
        for _, version, _, _, text in group:
            last[version] = json.loads(text)
            records += not last[version].get("deleted")
        if not records:
            continue  # a deletion of what is not here
        for _ in range(records - 1):
            report.drop("an older version")
        there = [version for version, row in last.items() if not row.get("deleted")]
        if not there:
            report.drop("deleted by NLM", pmid)
            continue
        row = last[max(there)]
        if "dropped" in row:
            report.drop(str(row["dropped"]), pmid)
            continue
        report.kept += 1
        yield row


def _order(line: Line) -> tuple[int, int, int, int]:
    return line[:4]


def _few(runs: list[Path], folder: Path) -> list[Path]:
    """No more runs than can be open at once."""
    for number in itertools.count():
        if len(runs) <= MOST_RUNS:
            return runs
        some, runs = runs[:MOST_RUNS], runs[MOST_RUNS:]
        path = folder / f"merged-{number:05d}.zst"
        write_run(path, heapq.merge(*map(read_run, some), key=_order))
        runs.append(path)
    raise AssertionError
