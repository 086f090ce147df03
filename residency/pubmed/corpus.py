"""A corpus of PubMed records on this disk: Parquet files in PMID order and a manifest.

    corpus/
      manifest.json        what it holds and where it came from; written last
      part-00000.parquet   zstd, in row groups of a few hundred records
      part-00001.parquet   …

Every other part of the project that takes a corpus opens it here. Parts ascend by PMID and a
PMID stands once, so one record is found by a search over the parts, then over the row groups
of one part, whose footer says which PMIDs each holds: two small reads, whatever the size.
"""

from __future__ import annotations

import bisect
import datetime
import hashlib
import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.errors import Missing, StageFailed
from residency.files import read_json, sha256_file, write_json

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
FORMAT = "residency-corpus"
VERSION = 1
PART_ROWS = 100_000
GROUP_ROWS = 250
COLUMNS = (
    *("pmid", "title", "abstract", "sections", "mesh", "publication_types"),
    *("journal", "journal_abbreviation", "date", "year", "doi", "languages", "authors"),
)
"""Every column, in their order. A row is a dictionary with these keys."""
_HINT = "make it again: run its recipe (`kind: corpus`) with --fresh"
_GROUPS_KEPT = 8


def schema() -> pa.Schema:
    """The columns' types.

    `date` is as exact as the record gives it (1979, 1979-06, 1979-06-01); `year` is None where
    there is none; `authors` are in PubMed's form, `Smith JA`. Text that is not there is "".
    """
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    term = [("name", text), ("ui", text), ("major", pa.bool_())]
    heading = pa.struct([*term, ("qualifiers", pa.list_(pa.struct(term)))])
    section = pa.struct([("label", text), ("category", text), ("text", text)])
    return pa.schema(
        [
            ("pmid", pa.int64()),
            ("title", text),
            ("abstract", text),
            ("sections", pa.list_(section)),
            ("mesh", pa.list_(heading)),
            ("publication_types", texts),
            ("journal", text),
            ("journal_abbreviation", text),
            ("date", text),
            ("year", pa.int32()),
            ("doi", text),
            ("languages", texts),
            ("authors", texts),
        ]
    )


def row_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """A citation of `residency.pubmed.reader.records` as a row of a corpus.

    Its authors are there when the reader was asked for them (`authors=True`).
    """
    return {
        "pmid": int(record["pmid"]),
        "title": record["title"] or record["vernacular_title"],
        "abstract": record["abstract"],
        "sections": record["sections"],
        "mesh": record["mesh"],
        "publication_types": [kind["name"] for kind in record["publication_types"]],
        "journal": record["journal"]["title"],
        "journal_abbreviation": record["journal"]["abbreviation"],
        "date": record["date"],
        "year": record["year"],
        "doi": record["doi"],
        "languages": record["languages"],
        "authors": record.get("author_names", []),
    }


@dataclass(frozen=True)
class Part:
    """One Parquet file."""

    path: Path
    rows: int
    first: int
    """Its lowest PMID."""
    last: int
    """Its highest PMID."""


@dataclass
class Corpus:
    """A corpus that was opened; nothing is read until it is asked for."""

    folder: Path
    manifest: Mapping[str, Any]
    """manifest.json: `count`, `parts`, `dropped`, `sources`, `query`, `licence`, `created`, …"""
    parts: tuple[Part, ...]
    _open: dict[int, Any] = field(default_factory=dict, repr=False)
    _groups: OrderedDict[tuple[int, int], Any] = field(default_factory=OrderedDict, repr=False)

    @property
    def count(self) -> int:
        """How many records it has."""
        return int(self.manifest["count"])

    @property
    def identity(self) -> str:
        """A hash of its content, 64 hex digits: the same records give the same."""
        hashes = "\n".join(str(part["sha256"]) for part in self.manifest["parts"])
        return hashlib.sha256(hashes.encode()).hexdigest()

    def rows(self, columns: Sequence[str] | None = None, batch: int = 1024) -> Iterator[dict[str, Any]]:
        """Every record in PMID order, a batch in memory at a time.

        Args:
            columns: Those that a row has (of `COLUMNS`); None for all.
            batch: Records read at once.

        Raises:
            KeyError: There is no such column.
            StageFailed: A part is gone, broken, or not the one that was written.
        """
        for unknown in set(columns or ()) - set(COLUMNS):
            raise KeyError(unknown)
        for at, part in enumerate(self.parts):
            seen = 0
            with _readable(part.path):
                for block in self._file(at).iter_batches(batch, columns=list(columns) if columns else None):
                    seen += block.num_rows
                    yield from block.to_pylist()
            if seen != part.rows:
                raise StageFailed(f"{part.path} has {seen} records where {part.rows} were written", _HINT)

    def pmids(self) -> list[int]:
        """Every PMID, ascending."""
        found: list[int] = []
        for at, part in enumerate(self.parts):
            with _readable(part.path):
                found += self._file(at).read(columns=["pmid"]).column(0).to_pylist()
        return found

    def get(self, pmid: int) -> dict[str, Any] | None:
        """The record with that PMID, or None; a few milliseconds, whatever the size."""
        at = bisect.bisect_right([part.first for part in self.parts], pmid) - 1
        if at < 0 or pmid > self.parts[at].last:
            return None
        with _readable(self.parts[at].path):
            group = self._group(at, pmid)
            pmids = group.column("pmid").to_pylist()
            row = bisect.bisect_left(pmids, pmid)
            if row == len(pmids) or pmids[row] != pmid:
                return None
            found: dict[str, Any] = group.slice(row, 1).to_pylist()[0]
            return found

    def _file(self, at: int) -> Any:
        """The opened Parquet file of a part."""
        import pyarrow.parquet as pq

        if at not in self._open:
            self._open[at] = pq.ParquetFile(self.parts[at].path)
        return self._open[at]

    def _group(self, at: int, pmid: int) -> Any:
        """The row group of a part in which that PMID would be."""
        file = self._file(at)
        meta = file.metadata
        low, high = 0, meta.num_row_groups - 1
        while low < high:
            middle = (low + high) // 2
            if meta.row_group(middle).column(0).statistics.max < pmid:
                low = middle + 1
            else:
                high = middle
        key = (at, low)
        found = self._groups.pop(key, None)
        if found is None:
            found = file.read_row_group(low)
        self._groups[key] = found
        while len(self._groups) > _GROUPS_KEPT:
            self._groups.popitem(last=False)
        return found


class _readable:
    """What pyarrow raises over a broken file, said in the project's words."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        import pyarrow as pa

        if isinstance(error, FileNotFoundError):
            raise StageFailed(f"{self.path} is gone", _HINT) from None
        if isinstance(error, pa.ArrowException | OSError):
            said = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise StageFailed(f"{self.path} is not whole: {said}", _HINT) from None


def need_pyarrow() -> None:
    """Raise Missing, with what to do, unless pyarrow is installed."""
    import importlib.util

    if importlib.util.find_spec("pyarrow") is None:
        raise Missing(
            "pyarrow is not installed, and a corpus is Parquet", "`make install`, or `pip install pyarrow`"
        )


def open_corpus(folder: Path | str) -> Corpus:
    """The corpus in that folder.

    Raises:
        Missing: There is no corpus, or it has no records.
        StageFailed: It is of another version, or a part is gone or cut short.
    """
    need_pyarrow()
    folder = Path(folder)
    try:
        manifest = read_json(folder / MANIFEST)
    except (ValueError, OSError) as error:
        raise StageFailed(f"{folder / MANIFEST} cannot be read: {error}", _HINT) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Missing(
            f"{folder} is no corpus: it has no {MANIFEST} of one"
            if folder.is_dir()
            else f"{folder} is not there",
            "make one with a recipe of `kind: corpus`, such as recipes/corpus/pubmed_baseline.yaml",
        )
    if manifest.get("version") != VERSION:
        raise StageFailed(
            f"{folder} is a corpus of version {manifest.get('version')}; this Residency knows {VERSION}",
            _HINT,
        )
    parts = []
    for said in manifest["parts"]:
        path = folder / said["file"]
        if not path.is_file():
            raise StageFailed(f"{path} is gone", _HINT)
        if path.stat().st_size != said["bytes"]:
            raise StageFailed(
                f"{path} has {path.stat().st_size} bytes where {said['bytes']} were written", _HINT
            )
        parts.append(Part(path, said["rows"], said["first"], said["last"]))
    if not manifest["count"]:
        raise Missing(f"{folder} is a corpus of 0 records", "widen the query or the filters of its recipe")
    return Corpus(folder, manifest, tuple(parts))


def write_corpus(
    rows: Iterable[Mapping[str, Any]],
    folder: Path | str,
    *,
    about: Mapping[str, Any] | None = None,
    part_rows: int = PART_ROWS,
    group_rows: int = GROUP_ROWS,
) -> Corpus:
    """Write a corpus, whole or not at all; one that is there already is replaced.

    Args:
        rows: Rows with `pmid` and any of the other `COLUMNS`, in ascending order of PMID.
        folder: Where it will lie.
        about: What else the manifest says: `sources`, `query`, `dropped`, `licence`. A mapping
            that is filled while the rows are drawn is taken as it is in the end.
        part_rows: Records in a file.
        group_rows: Records in a row group; fewer make `get` quicker and the file larger.

    Raises:
        StageFailed: There are no rows, they are not in order, or a value has the wrong type.
    """
    need_pyarrow()
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f".{folder.name}.*.part"):
        shutil.rmtree(left, ignore_errors=True)  # of a process that was killed
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        parts = _write_parts(rows, work, part_rows, group_rows)
        count = sum(part["rows"] for part in parts)
        if not count:
            raise StageFailed(
                f"{folder.name} would have 0 records",
                "widen the query or the filters, or look at the sources",
            )
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "count": count,
            "created": now,
            "columns": list(COLUMNS),
            **(about or {}),
            "parts": parts,
        }
        write_json(work / MANIFEST, manifest)
        work.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(work, folder)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return open_corpus(folder)


def _write_parts(
    rows: Iterable[Mapping[str, Any]], work: Path, part_rows: int, group_rows: int
) -> list[dict[str, Any]]:
    """The Parquet files; what the manifest says of each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = schema()
    parts: list[dict[str, Any]] = []
    writer: pq.ParquetWriter | None = None
    try:
        for group in _groups(rows, min(group_rows, part_rows)):
            if writer is None or parts[-1]["rows"] + len(group) > part_rows:
                if writer is not None:
                    writer.close()
                name = f"part-{len(parts):05d}.parquet"
                parts.append({"file": name, "rows": 0, "first": group[0]["pmid"], "last": 0})
                writer = pq.ParquetWriter(work / name, types, compression="zstd")
            try:
                table = pa.Table.from_pylist(group, schema=types)
            except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
                first, last = group[0]["pmid"], group[-1]["pmid"]
                raise StageFailed(f"a record from PMID {first} to {last} does not fit: {error}") from None
            writer.write_table(table)
            parts[-1]["rows"] += len(group)
            parts[-1]["last"] = group[-1]["pmid"]
    finally:
        if writer is not None:
            writer.close()
    for part in parts:
        path = work / part["file"]
        part["bytes"] = path.stat().st_size
        part["sha256"] = sha256_file(path)
    return parts


def _groups(rows: Iterable[Mapping[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    """The rows in groups, each with every column; they must ascend by PMID."""
    group: list[dict[str, Any]] = []
    before = -1
    for row in rows:
        whole = {name: _EMPTY[name] if (value := row.get(name)) is None else value for name in COLUMNS}
        pmid = whole["pmid"] = int(row["pmid"])
        if pmid <= before:
            raise StageFailed(
                f"PMID {pmid} comes after {before}: a corpus is written in PMID order, each once"
            )
        before = pmid
        group.append(whole)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


_EMPTY: dict[str, Any] = {
    **dict.fromkeys(("title", "abstract", "journal", "journal_abbreviation", "date", "doi"), ""),
    **{name: [] for name in ("sections", "mesh", "publication_types", "languages", "authors")},
    "pmid": None,
    "year": None,
}
