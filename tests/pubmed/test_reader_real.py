"""The reader on real records, against another reader; and the memory that it takes."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from independent_reader import independent, same

from residency.pubmed import blocks
from residency.pubmed.reader import records


@pytest.mark.parametrize("block", [1024, 10_000, blocks.BLOCK])
def test_real_records_read_as_an_independent_reader_reads_them(
    block: int, reference_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", block)
    path = reference_dir / "pubmed_xml/pubmed21n1298_slice500.xml.gz"
    ours, theirs = list(records(path)), independent(path)
    assert len(ours) == len(theirs) == 520
    for a, b in zip(ours, theirs, strict=True):
        same(a, b)
    assert sum(1 for row in ours if row.get("deleted")) == 20


def test_efetch_replies(reference_dir: Path) -> None:
    n = 0
    for path in sorted((reference_dir / "pubmed_xml/eutils_replies").glob("pubmed*.xml")):
        theirs = independent(path)
        ours = list(records(path))
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
        n += len(ours)
    assert n >= 8


def test_events_and_blocks_agree(reference_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = reference_dir / "pubmed_xml/pubmed21n1298_slice500.xml.gz"
    by_blocks = list(records(path))

    def refuse(stream: object) -> Any:
        raise blocks._OtherLayout
        yield

    monkeypatch.setattr(blocks, "_blocks", refuse)
    assert list(records(path)) == by_blocks


def test_memory_stays_small(reference_dir: Path, tmp_path: Path) -> None:
    """A file of 20,000 real records, one after the other in one document, and its reader's peak."""
    source = gzip.decompress((reference_dir / "pubmed_xml/pubmed21n1298_slice500.xml.gz").read_bytes())
    start = source.index(b"<PubmedArticle>")
    end = source.rindex(b"</PubmedArticle>") + len(b"</PubmedArticle>")
    path = tmp_path / "big.xml.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(source[:start])
        for _ in range(40):
            out.write(source[start:end])
        out.write(b"</PubmedArticleSet>")
    code = (
        "import sys; from processors.pubmed import read;"
        "n = sum(1 for _ in read(iter([{'path': sys.argv[1]}])));"
        # Not getrusage: its peak begins with that of the process that started this one.
        "print(n, next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    n, kilobytes = map(int, done.stdout.split())
    assert n == 20_000
    assert kilobytes < 60_000
