"""Rows from JSON, JSONL, CSV, TSV and parquet files, gzipped or not, one at a time.

A row that cannot be read is dropped and counted with its line; a file that cannot be read at
all stops the stage.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from residency.errors import Missing, StageFailed
from residency.processing import Report, Row

CHUNK = 1 << 18


def rows_of(path: Path, report: Report | None = None, *, format: str | None = None) -> Iterator[Row]:
    """The rows of a file.

    Args:
        path: The file.
        report: Counts what is read and dropped.
        format: json, jsonl, csv, tsv or parquet; without it, the file's ending says.

    Raises:
        Missing: There is no such file, or pyarrow is needed and not there.
        StageFailed: The file is not what it should be.
    """
    report = report or Report()
    kind = format or format_of(path)
    if kind not in _READERS:
        raise StageFailed(
            f"{path} is of a kind that is not known as rows",
            f"known: {', '.join(_READERS)}; a processor for it comes first in `process:` "
            "(processors.pubmed.read for PubMed XML), or name one: processors.convert.read with `format:`",
        )
    try:
        for row in _READERS[kind](path, report):
            report.kept += 1
            yield row
    except FileNotFoundError:
        raise Missing(f"{path} is not there") from None
    except IsADirectoryError:
        raise StageFailed(f"{path} is a folder, not a file of rows") from None
    except UnicodeDecodeError as error:
        raise StageFailed(f"{path} is not UTF-8: byte {error.start} ({error.reason})") from None
    except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise StageFailed(f"{path} is cut short or damaged: {error}") from None


def format_of(path: Path) -> str | None:
    """The format that a file's ending says, or None."""
    suffixes = [s.lower() for s in path.suffixes]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    last = suffixes[-1][1:] if suffixes else ""
    return {"ndjson": "jsonl", "pq": "parquet"}.get(last, last) if last in _SUFFIXES else None


def _open(path: Path) -> IO[str]:
    """The file as text, without a byte order mark."""
    raw: IO[bytes] = path.open("rb")
    if raw.read(2) == b"\x1f\x8b":
        raw.seek(0)
        return io.TextIOWrapper(gzip.GzipFile(fileobj=raw), encoding="utf-8-sig", newline="")
    raw.seek(0)
    return io.TextIOWrapper(raw, encoding="utf-8-sig", newline="")


def _jsonl(path: Path, report: Report) -> Iterator[Row]:
    with _open(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            report.read += 1
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                report.drop("not JSON", f"{path.name}:{number}")
                continue
            if isinstance(row, dict):
                yield row
            else:
                report.drop("not an object", f"{path.name}:{number}")


def _json(path: Path, report: Report) -> Iterator[Row]:
    """An array of objects, or an object of objects whose keys become the field `key`."""
    with _open(path) as stream:
        start = stream.read(CHUNK)
        if start.lstrip()[:1] == "[":
            yield from _array(path, start, stream, report)
            return
        try:
            value = json.loads(start + stream.read())
        except (ValueError, RecursionError) as error:
            raise StageFailed(
                f"{path} is not JSON: {error}", "one object a line is JSONL: name it .jsonl"
            ) from None
    if not isinstance(value, dict):
        raise StageFailed(f"{path} holds neither an array nor an object")
    for key, row in value.items():
        report.read += 1
        if isinstance(row, dict):
            yield {"key": key, **row}
        else:
            report.drop("not an object", f"{path.name}: {key}")


def _array(path: Path, text: str, stream: IO[str], report: Report) -> Iterator[Row]:
    """The objects of an array, without the whole of it in memory."""
    decoder = json.JSONDecoder()
    at = text.index("[") + 1
    number, comma = 0, False
    while True:
        while at < len(text) and (text[at].isspace() or (text[at] == "," and not comma and number)):
            comma = comma or text[at] == ","
            at += 1
        if at < len(text) and text[at] == "]" and not comma:
            return
        value, end = None, -1
        if at < len(text) and (comma or not number):
            try:
                value, end = decoder.raw_decode(text, at)
            except ValueError:
                end = -1
            except RecursionError:
                raise StageFailed(f"{path} is nested too deeply in row {number + 1}") from None
        # A number at the very end of what was read may go on in the next piece.
        if end < 0 or end == len(text):
            more = stream.read(max(CHUNK, len(text) - at))
            if more:
                text, at = text[at:] + more, 0
                continue
        if end < 0:
            raise StageFailed(f"{path} is not whole JSON: it breaks off or is wrong in row {number + 1}")
        number, at, comma = number + 1, end, False
        report.read += 1
        if isinstance(value, dict):
            yield value
        else:
            report.drop("not an object", f"{path.name}: row {number}")


def _separated(path: Path, report: Report, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(1 << 27)
    with _open(path) as stream:
        reader = csv.reader(stream, delimiter=delimiter)
        try:
            names = next(reader, None)
            if not names or len(set(names)) != len(names):
                raise StageFailed(f"{path} needs a first line with a name for each column, each once")
            for fields in reader:
                if not fields:
                    continue
                report.read += 1
                if len(fields) == len(names):
                    yield dict(zip(names, fields, strict=True))
                else:
                    report.drop(
                        "another number of fields than the first line", f"{path.name}:{reader.line_num}"
                    )
        except csv.Error as error:
            raise StageFailed(f"{path} is not sound, line {reader.line_num}: {error}") from None


def _csv(path: Path, report: Report) -> Iterator[Row]:
    return _separated(path, report, ",")


def _tsv(path: Path, report: Report) -> Iterator[Row]:
    return _separated(path, report, "\t")


def _parquet(path: Path, report: Report) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise Missing("pyarrow is needed to read parquet files", "pip install pyarrow") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as opened:
            for batch in opened.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    report.read += 1
                    yield row
    except pyarrow.ArrowException as error:
        raise StageFailed(f"{path} is not sound parquet: {error}") from None


_READERS: dict[str, Callable[[Path, Report], Iterator[dict[str, Any]]]] = {
    "jsonl": _jsonl,
    "json": _json,
    "csv": _csv,
    "tsv": _tsv,
    "parquet": _parquet,
}
_SUFFIXES = (*_READERS, "ndjson", "pq")
