"""Documents from what holds them: a corpus, PubMed XML, or files of rows.

- a folder that `kind: corpus` left;
- PubMed XML (`.xml`, `.xml.gz`), by `residency.pubmed.reader`; of a PMID that stands several times
  the last counts. For more than some files `kind: corpus` comes first: this keeps every PMID in memory;
- JSONL in Search-R1's form, `{"id", "contents": "\"Title\"\ntext"}`;
- JSONL, Parquet or CSV with an id (`id`, `_id`, `pmid`), a `title`, and a `text` or `abstract`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from residency.errors import StageFailed
from residency.processing import Report
from residency.pubmed.corpus import open_corpus
from residency.pubmed.reader import records as pubmed_records
from residency.retrieval.boolean.documents import COLUMNS
from residency.retrieval.documents import Document, clean
from residency.rows.read import rows_of

IDS = ("id", "_id", "pmid")
TEXTS = ("text", "abstract")
KEPT = ("pmid", "journal", "year", "doi")
"""What a document keeps of its record beside title and text."""


def documents(
    paths: Sequence[Path],
    report: Report,
    *,
    columns: Mapping[str, str] | None = None,
    titles_alone: bool = False,
    limit: int | None = None,
) -> Iterator[Document]:
    """The documents of all paths, in order: `id`, `title`, `text`, and what KEPT names.

    Args:
        paths: Files and corpora.
        report: Counts what was read and left out.
        columns: Which columns of files of rows hold `id`, `title` and `text`.
        titles_alone: Keep documents that have a title and no text.
        limit: Stop after so many.

    Raises:
        Missing: a path is not there.
        StageFailed: it cannot be read, or its rows hold no documents.
    """
    kept = 0
    last = _last([path for path in paths if _is_xml(path)])
    for path in paths:
        for number, row in enumerate(_rows(path, report, last), 1):
            document = _document(row, f"{path.name}, row {number}", columns or {})
            if not document["text"] and not (titles_alone and document["title"]):
                report.drop("no text" if document["title"] else "neither title nor text", document["id"])
                continue
            yield document
            kept += 1
            if kept == limit:
                report.kept = kept
                return
    report.kept = kept


def _is_xml(path: Path) -> bool:
    return path.name.endswith((".xml", ".xml.gz"))


def _last(paths: Sequence[Path]) -> dict[str, tuple[Path, int]]:
    """PMID → (file, number) of its last version: update files bring a record again, or take it away."""
    found: dict[str, tuple[Path, int]] = {}
    for path in paths:
        for number, record in enumerate(pubmed_records(path)):
            if record.get("deleted"):
                found.pop(record["pmid"], None)
            else:
                found[record["pmid"]] = (path, number)
    return found


def _rows(path: Path, report: Report, last: Mapping[str, tuple[Path, int]]) -> Iterator[dict[str, Any]]:
    if path.is_dir():
        yield from _corpus(path, report, [*KEPT, "title", "abstract"])
    elif _is_xml(path):
        yield from _xml(path, report, last)
    else:
        yield from rows_of(path, report)


def _xml(
    path: Path, report: Report, last: Mapping[str, tuple[Path, int]], *, names: bool = False
) -> Iterator[dict[str, Any]]:
    """The records of a file that no later one replaces or takes away."""
    for number, record in enumerate(pubmed_records(path, names=names)):
        report.read += 1
        if record.get("deleted"):
            report.drop("deleted by NLM", record["pmid"])
        elif record.get("book"):
            report.drop("an entry for a book", record["pmid"])
        elif last.get(record["pmid"]) != (path, number):
            report.drop("replaced by a later version, or deleted", record["pmid"])
        else:
            yield {**record, "title": record["title"] or record["vernacular_title"]}


def _corpus(folder: Path, report: Report, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of a corpus that `kind: corpus` left."""
    for row in open_corpus(folder).rows(columns):
        report.read += 1
        yield row


def pubmed_rows(paths: Sequence[Path], report: Report) -> Iterator[dict[str, Any]]:
    """The records of all paths with all that PubMed's Boolean search looks at, titles without text too.

    Args:
        paths: Corpora, PubMed XML, or files of rows with a `pmid`.
        report: Counts what was read and left out.

    Raises:
        Missing: a path is not there.
        StageFailed: it cannot be read.
    """
    last = _last([path for path in paths if _is_xml(path)])
    for path in paths:
        if path.is_dir():
            yield from _corpus(path, report, COLUMNS)
        elif _is_xml(path):
            yield from _xml(path, report, last, names=True)
        else:
            yield from rows_of(path, report)


def _document(row: Mapping[str, Any], where: str, columns: Mapping[str, str]) -> Document:
    id_ = _first(row, (columns["id"],) if "id" in columns else IDS)
    if id_ is None or clean(id_) == "":
        raise StageFailed(
            f"{where} has no id",
            f"a document has `id`, `_id` or `pmid`, or name the column: columns: {{id: …}}; "
            f"this row has {', '.join(list(row)[:12])}",
        )
    contents = row.get("contents")
    if isinstance(contents, str) and "text" not in columns:
        title, text = split_contents(clean(contents))
        document: Document = {"id": clean(id_), "title": title, "text": text, "contents": clean(contents)}
    else:
        text_columns = (columns["text"],) if "text" in columns else TEXTS
        if not any(name in row for name in text_columns):
            raise StageFailed(
                f"{where} has no text: no column {' or '.join(f'`{name}`' for name in text_columns)}",
                f"name it: columns: {{text: …}}; this row has {', '.join(list(row)[:12])}",
            )
        title = clean(_first(row, (columns.get("title", "title"),)))
        document = {"id": clean(id_), "title": title, "text": clean(_first(row, text_columns))}
    for key in KEPT:
        value = row.get(key)
        if isinstance(value, Mapping):
            value = value.get("title")
        if value not in (None, ""):
            document[key] = value if isinstance(value, int) and key == "year" else clean(value)
    return document


def split_contents(contents: str) -> tuple[str, str]:
    """(title, text) of Search-R1's `contents`: a title in quotation marks, then the text."""
    title, _, text = contents.partition("\n")
    if title.startswith('"') and title.endswith('"') and len(title) > 1:
        title = title[1:-1]
    elif not text:
        return "", contents
    return title.strip(), text.strip()


def _first(row: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)
