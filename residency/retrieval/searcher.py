"""Searches an index: the documents that answer a query best.

    searcher = open_index(Path("runs/…/outputs/index"))
    for hits in searcher.search(["does aspirin prevent colorectal cancer?"], topk=5):
        ...

A batch of queries is encoded at once and searched at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.errors import RecipeInvalid, StageFailed
from residency.retrieval import manifest as manifests
from residency.retrieval.documents import Document, Documents, clean
from residency.retrieval.fusion import fuse
from residency.retrieval.manifest import Manifest
from residency.retrieval.words import FOLDER as WORDS
from residency.retrieval.words import WordIndex

DEPTH = 100
"""How far down each ranking a hybrid search looks, at least."""
Ranking = list[tuple[int, float]]
"""(position, score), best first."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One document that was found."""

    score: float
    """The inner product, the BM25 score, or the fused score: higher is better."""
    document: dict[str, Any]
    """At least `id`, `title`, `text` and `contents`; `pmid` where it has one."""


class Searcher:
    """An index that is open. Searches of several threads may overlap."""

    def __init__(
        self, folder: Path, manifest: Manifest, documents: Documents, vectors: Any, words: WordIndex | None
    ) -> None:
        """Use `open_index`."""
        self.folder = folder
        self.manifest = manifest
        self.documents = documents
        self._vectors = vectors
        self._words = words

    @property
    def count(self) -> int:
        """How many documents it holds."""
        return len(self.documents)

    def search(
        self, queries: Sequence[str], topk: int, *, how: manifests.Search | None = None
    ) -> list[list[Hit]]:
        """The best documents for each query, best first; fewer where fewer match.

        Args:
            queries: Texts; an empty one finds nothing.
            topk: How many for each, 1 or more; more than there are documents gives all of them.
            how: `dense`, `bm25` or `hybrid`; without it what the index was made for.

        Raises:
            RecipeInvalid: `topk` is below 1, or the index has no part for `how`.
        """
        return [
            [Hit(score, self.documents[position]) for position, score in ranking]
            for ranking in self.rank(queries, topk, how=how)
        ]

    def rank(
        self, queries: Sequence[str], topk: int, *, how: manifests.Search | None = None
    ) -> list[Ranking]:
        """As `search`, the documents by position alone."""
        if topk < 1:
            raise RecipeInvalid(f"topk is {topk}, and at least 1 document is to be found")
        how = how or self.manifest.search
        topk = min(topk, self.count)
        cleaned = [clean(query) for query in queries]
        asked = [at for at, query in enumerate(cleaned) if query]
        texts = [cleaned[at] for at in asked]
        found: list[Ranking] = [[] for _ in queries]
        for at, ranking in zip(asked, self._rank(texts, topk, how) if texts else [], strict=True):
            found[at] = ranking
        return found

    def _rank(self, queries: list[str], topk: int, how: str) -> list[Ranking]:
        if how == "bm25":
            return self._by_words().search(queries, topk)
        if how == "dense":
            found: list[Ranking] = self._by_vectors().search(queries, topk)
            return found
        if how != "hybrid":
            raise RecipeInvalid(f"`{how}` is no way to search", "dense, bm25 or hybrid")
        depth = min(max(topk, DEPTH), self.count)
        both = (self._by_vectors().search(queries, depth), self._by_words().search(queries, depth))
        return [
            fuse([[position for position, _ in ranking] for ranking in pair], topk, self.manifest.fusion_k)
            for pair in zip(*both, strict=True)
        ]

    def document(self, id: str) -> Document | None:
        """The document of that id, or None."""
        return self.documents.by_id(id)

    def _by_words(self) -> WordIndex:
        if self._words is None:
            raise RecipeInvalid("this index has no words to search", "make it with `bm25: true`")
        return self._words

    def _by_vectors(self) -> Any:
        if self._vectors is None:
            raise RecipeInvalid("this index has no vectors to search", "make it with an `encoder`")
        return self._vectors


def open_index(folder: Path, *, threads: int | None = None, device: str = "cpu") -> Searcher:
    """Open the index in `folder`.

    Args:
        folder: What an `index` stage left.
        threads: CPU threads for encoding and searching; without it those of this process.
        device: Where queries are encoded and, with faiss-gpu, searched: `cpu`, `cuda`, `cuda:1`.

    Raises:
        Missing: there is no index, or a library that it needs is not installed.
        StageFailed: it is damaged, or its parts disagree.
    """
    folder = Path(folder)
    manifest = manifests.read(folder)
    documents = Documents(folder)
    words = WordIndex(folder / WORDS, manifest.words) if manifest.words else None
    vectors = None
    if manifest.encoder and manifest.vectors:
        from residency.retrieval.dense import VectorIndex

        vectors = VectorIndex(folder, manifest.encoder, manifest.vectors, threads=threads, device=device)
    counts = {"documents": len(documents)}
    if vectors is not None:
        counts["vector index"] = vectors.count
    if words is not None:
        counts["word index"] = words.count
    for what, count in counts.items():
        if count != manifest.count:
            raise StageFailed(
                f"the {what} of the index {folder} has {count:,} entries, and its manifest says "
                f"{manifest.count:,}",
                "its parts come from different runs: make the index again",
            )
    return Searcher(folder, manifest, documents, vectors, words)
