"""The first rows of a data file, read without loading the rest."""

from __future__ import annotations

import csv
import io
import json
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

TYPES = {
    ".arrow": "arrow",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
    ".txt": "text",
}
"""Ending → type of file, for those that the `datasets` library reads as training data."""
ROWS = 20
_CHUNK = 1 << 16
_MOST = 1 << 24
"""Characters read of one file; a first row longer than that is not looked at."""


class BadRow(Exception):
    """A row that cannot be read."""

    def __init__(self, message: str, line: int, column: int = 1) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class Rows(NamedTuple):
    """The first rows."""

    columns: list[str]
    """The names that occur in any of them, in the order seen."""
    rows: list[dict[str, Any]]
    complete: bool
    """True when every column of the file is known (CSV, Parquet), not only those of the first rows."""


def first_rows(path: Path, count: int = ROWS) -> Rows | None:
    """The first rows of a data file; None for a type that cannot be looked into here.

    Raises:
        BadRow: a row is not what the file's ending says.
        OSError: the file cannot be read.
    """
    kind = TYPES.get(path.suffix)
    if kind == "json":
        return _columns(_json(path, count), complete=False)
    if kind == "csv":
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
            reader = csv.DictReader(stream)
            rows = list(islice(reader, count))
            return Rows([name for name in reader.fieldnames or [] if name], rows, True)
    if kind == "text":
        return Rows(["text"], [], True)
    return _parquet(path) if kind == "parquet" else None


def _columns(rows: list[dict[str, Any]], *, complete: bool) -> Rows:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return Rows(list(names), rows, complete)


def _parquet(path: Path) -> Rows | None:
    try:
        import pyarrow.lib
        import pyarrow.parquet
    except ImportError:
        return None
    try:
        names = pyarrow.parquet.read_schema(path).names
    except pyarrow.lib.ArrowException as error:
        raise BadRow(f"this is no Parquet file: {str(error).splitlines()[0]}", 1) from None
    return Rows(list(names), [], True)


def _json(path: Path, count: int) -> list[dict[str, Any]]:
    """Rows of JSON lines, or of one JSON array, whichever the file holds."""
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        start = stream.read(_CHUNK)
        lead = start.lstrip()
        if lead.startswith("["):
            return _array(stream, start, count)
        return _lines(stream, start, count)


def _lines(stream: IO[str], start: str, count: int) -> list[dict[str, Any]]:
    text = start + (stream.readline(_MOST) if start and not start.endswith("\n") else "")
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(io.StringIO(text), 1):
        if len(rows) == count:
            break
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == 1 and line.strip() in ("{", '{"'):
                raise BadRow("one object over several lines is no row; write a list of rows", 1) from None
            raise BadRow(f"this line is not JSON: {error.msg}", number, error.colno) from None
        rows.append(_row(row, number))
    return rows


def _array(stream: IO[str], text: str, count: int) -> list[dict[str, Any]]:
    decoder = json.JSONDecoder()
    at = text.index("[") + 1
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at < len(text) and text[at] == "]":
            break
        try:
            row, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            # The row may go on beyond what has been read.
            more = stream.read(max(_CHUNK, len(text))) if len(text) < _MOST else ""
            if more:
                text += more
                continue
            if len(text) >= _MOST:
                break
            before = text[: error.pos]
            column = error.pos - (before.rfind("\n") + 1) + 1
            raise BadRow(f"this is not JSON: {error.msg}", before.count("\n") + 1, column) from None
        rows.append(_row(row, text[:at].count("\n") + 1))
        at = end
    return rows


def _row(row: Any, line: int) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise BadRow("a row must be an object: {…}", line)
    return row
