"""PubMed XML, from NLM's files or from efetch, as rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from residency.processing import Positive, Report, Row, gives, reads_files
from residency.pubmed.reader import FIELDS, records


@gives(*FIELDS)
@reads_files
def read(
    rows: Iterator[Row],
    *,
    deleted: Literal["drop", "keep"] = "drop",
    abstract: bool = False,
    mesh: bool = False,
    limit: Positive | None = None,
    report: Report | None = None,
) -> Iterator[Row]:
    """Every citation of each file; `residency.pubmed.reader.records` lists the fields.

    Args:
        rows: Files, each with a `path`.
        deleted: `keep` gives deletions as {"pmid", "version", "deleted": True}; `drop` counts them.
        abstract: Only citations with an abstract.
        mesh: Only citations with MeSH headings.
        limit: Stop after so many rows.
        report: What was read, kept and dropped.
    """
    report = report or Report()
    if limit is not None and limit <= 0:
        return
    for file in rows:
        for record in records(Path(file["path"])):
            report.read += 1
            if record.get("book"):
                report.drop("an entry for a book", record["pmid"])
            elif not record["pmid"]:
                report.drop("no PMID", record.get("title"))
            elif record.get("deleted") and deleted == "drop":
                report.drop("deleted by NLM", record["pmid"])
            elif abstract and not record.get("abstract"):
                report.drop("no abstract", record["pmid"])
            elif mesh and not record.get("mesh"):
                report.drop("no MeSH headings", record["pmid"])
            else:
                report.kept += 1
                yield record
                if report.kept == limit:
                    return
