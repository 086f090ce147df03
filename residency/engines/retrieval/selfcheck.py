"""Looks at an index with fresh eyes: do its parts belong together?"""

from __future__ import annotations

from pathlib import Path

from residency.engines.retrieval.vectors import VectorMaker
from residency.errors import StageFailed
from residency.retrieval import manifest
from residency.retrieval.documents import Documents
from residency.retrieval.searcher import Searcher, open_index

SAMPLE = 20
TEXT = 400
"""Characters of a document that are asked for."""
NEAR = 0.98
"""Cosine of a document's vector now and as it was kept: bfloat16 and padding move it by less."""
LEAST = 0.5


def same_vectors(maker: VectorMaker) -> float:
    """Encode some documents again; the least cosine with the vectors that were kept.

    Raises:
        StageFailed: they are not the same: vectors and documents are not in one order.
    """
    import numpy as np

    documents = Documents(maker.part)
    at = spread(len(documents))
    again = maker.encoder.passages([(documents[n]["title"], documents[n]["text"]) for n in at])
    kept = maker.shards.take(np.asarray(at))
    lengths = np.linalg.norm(again, axis=1) * np.linalg.norm(kept, axis=1)
    least = float(((again * kept).sum(axis=1) / np.maximum(lengths, 1e-12)).min())
    if least < NEAR:
        raise StageFailed(
            "vectors and documents disagree: a document that is encoded again has another vector "
            f"(cosine {least:.3f})",
            "the vectors in the cache are of other documents or another model: remove "
            f"{maker.shards.folder} and run the same command",
        )
    return round(least, 4)


def finds_itself(folder: Path, threads: int) -> tuple[dict[str, float], list[str]]:
    """Ask the index for some of its documents by how they begin.

    Returns:
        The share that is among the best ten, by way of searching, and warnings.

    Raises:
        StageFailed: fewer than half are, and documents and queries have the same encoder.
    """
    searcher = open_index(folder, threads=threads)
    made = searcher.manifest
    figures: dict[str, float] = {}
    warnings: list[str] = []
    if made.encoder is not None:
        share = figures["finds_itself_dense"] = _share(searcher, "dense")
        if share < LEAST:
            said = f"of the documents that were asked for by their own words {share:.0%} are found (dense)"
            if made.encoder.query_sha256 is None and not made.encoder.pair:
                raise StageFailed(said, "the model does not tell documents apart: look at encoder.pooling")
            warnings.append(f"{said}: were encoder.model and encoder.query_model trained together?")
    if made.words is not None:
        share = figures["finds_itself_bm25"] = _share(searcher, "bm25")
        if share < LEAST:
            raise StageFailed(
                f"of the documents that were asked for by their own words {share:.0%} are found (bm25)",
                "look at bm25.stop_words and the language of the documents",
            )
    return figures, warnings


def _share(searcher: Searcher, how: manifest.Search) -> float:
    at = spread(searcher.count)
    asked = [searcher.documents[n] for n in at]
    queries = [(document["title"] + "\n" + document["text"])[:TEXT] for document in asked]
    found = searcher.rank(queries, 10, how=how)
    return sum(n in [p for p, _ in ranking] for n, ranking in zip(at, found, strict=True)) / len(at)


def spread(count: int, most: int = SAMPLE) -> list[int]:
    """Positions spread over a corpus."""
    n = min(count, most)
    return [position * count // n for position in range(n)]
