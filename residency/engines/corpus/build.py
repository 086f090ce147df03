"""Sorted runs into a corpus: the last versions, repeated texts out, a sample drawn, the manifest."""

from __future__ import annotations

import io
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.engines.processors.notes import Notes
from residency.errors import StageFailed
from residency.files import atomic
from residency.processing import Report
from residency.pubmed.chunks import Chunking, write_jsonl
from residency.pubmed.corpus import Corpus, open_corpus, write_corpus
from residency.pubmed.merge import merged
from residency.pubmed.select import chosen, text_key

_MOST = 30


@dataclass
class Builder:
    """Makes one corpus."""

    work: Path
    """For what is written on the way."""
    report: Report
    """What was read and dropped so far; counts on."""
    notes: Notes
    dedupe: bool = False
    sample: tuple[int, int] | None = None
    figures: Figures = field(default_factory=lambda: Figures())

    def build(self, runs: list[Path], folder: Path, about: Mapping[str, Any]) -> Corpus:
        """Write the corpus into `folder`.

        Raises:
            StageFailed: No records are left; says where they went.
        """
        rows = merged(runs, self.work, self.report)
        if self.dedupe or self.sample:
            rows = self._chosen(rows)
        manifest = dict(about)

        def counted() -> Iterator[dict[str, Any]]:
            n = 0
            for n, row in enumerate(rows, 1):
                self.figures.add(row)
                self.notes.progress("writing the corpus", n)
                yield row
            self.report.kept = n
            manifest.update(self.report.to_json(), figures=self.figures.to_json())

        try:
            return write_corpus(counted(), folder, about=manifest)
        except StageFailed as error:
            if self.report.kept:
                raise
            raise StageFailed(error.message, self._why_empty()) from None

    def _chosen(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows that stay: one pass to a file, the decision, a second pass."""
        import pyarrow as pa

        path = self.work / "last.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        pmids, keys = array("q"), array("Q")
        with pa.output_stream(str(path), compression="zstd") as raw, io.BufferedWriter(raw, 1 << 20) as out:
            for row in rows:
                pmids.append(row["pmid"])
                if self.dedupe:
                    keys.append(text_key(row))
                out.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
                self.notes.progress("putting records in order", len(pmids))
        keep, repeated, undrawn = chosen(pmids, keys if self.dedupe else None, self.sample)
        for reason, n in (("the text of another record", repeated), ("not drawn", undrawn)):
            if n:
                self.report.dropped[reason] = n
        with pa.input_stream(str(path), compression="zstd") as raw:
            for stays, line in zip(keep, io.BufferedReader(raw, 1 << 20), strict=True):
                if stays:
                    yield json.loads(line)

    def _why_empty(self) -> str:
        said = self.report.to_json()
        why = "; ".join(f"{d['n']:,} {d['reason']}" for d in said["dropped"][:4])
        return f"{said['read']:,} records were read" + (f", dropped: {why}" if why else "")


@dataclass
class Figures:
    """What a corpus is like."""

    abstracts: int = 0
    mesh: int = 0
    words: int = 0
    years: Counter[int] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    journals: Counter[str] = field(default_factory=Counter)

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one record."""
        self.abstracts += bool(row["abstract"])
        self.mesh += bool(row["mesh"])
        self.words += len(row["abstract"].split())
        if row["year"] is not None:
            self.years[row["year"]] += 1
        self.languages.update(row["languages"])
        self.types.update(row["publication_types"])
        self.journals[row["journal_abbreviation"] or row["journal"]] += 1

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it; of types and journals the most frequent."""
        return {
            "with_abstract": self.abstracts,
            "with_mesh": self.mesh,
            "words": self.words,
            "years": {str(year): n for year, n in sorted(self.years.items())},
            "languages": dict(self.languages.most_common(_MOST)),
            "publication_types": dict(self.types.most_common(_MOST)),
            "journals": dict(self.journals.most_common(_MOST)),
        }


def export(corpus: Path, target: Path, how: Chunking | None, notes: Notes | None = None) -> int:
    """Write a corpus as JSON Lines in Search-R1's form; how many passages."""
    opened = open_corpus(corpus)

    def rows() -> Iterator[dict[str, Any]]:
        for n, row in enumerate(opened.rows(["pmid", "title", "abstract"]), 1):
            if notes is not None:
                notes.progress(f"writing {target.name}", n, opened.count)
            yield row

    with atomic(target) as out:
        return write_jsonl(rows(), out, how)
