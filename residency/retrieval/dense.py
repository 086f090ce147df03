"""The vector side of an index that is open: queries are encoded and searched, a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from residency.errors import StageFailed
from residency.retrieval import faiss_index, models
from residency.retrieval.encoder import TextEncoder
from residency.retrieval.manifest import Encoder, Vectors

MODEL = "encoder"
"""The folder of the model that encodes queries, a copy of what the recipe named."""


class VectorIndex:
    """FAISS's index and the model for its queries, both as the manifest says."""

    def __init__(
        self, folder: Path, encoder: Encoder, vectors: Vectors, *, threads: int | None, device: str
    ) -> None:
        """Open what is in an index's folder.

        Raises:
            Missing: a library is not installed, or the device is not there.
            StageFailed: a file is missing or damaged; the model is another one, or its vectors have
                other dimensions than the index.
        """
        index = faiss_index.read(folder / faiss_index.FILE)
        if index.d != encoder.dimension:
            raise StageFailed(
                f"{folder / faiss_index.FILE} holds vectors of {index.d} dimensions, and the manifest says "
                f"{encoder.dimension}",
                "its parts come from different runs: make the index again",
            )
        model = folder / MODEL
        if not model.is_dir():
            raise StageFailed(f"{model}, the model for queries, is missing", "make the index again")
        if models.sha256(model) != (encoder.query_sha256 or encoder.model_sha256):
            raise StageFailed(
                f"{model} is not the model that the index was made with: its hash differs",
                "make the index again, with the model that is wanted",
            )
        faiss_index.tune(index, vectors.params)
        self._index = faiss_index.to_gpu(index, vectors.type) if device.startswith("cuda") else index
        self._threads = threads
        self._encoder = TextEncoder(model, encoder, device=device, threads=threads)
        self.count = int(index.ntotal)

    def search(self, queries: Sequence[str], topk: int) -> list[list[tuple[int, float]]]:
        """For each query the (position, score) of the best documents, best first."""
        vectors = self._encoder.queries(queries)
        positions, scores = faiss_index.search(self._index, vectors, topk, self._threads)
        return [
            [(at, score) for at, score in zip(row, values, strict=True) if at >= 0]
            for row, values in zip(positions.tolist(), scores.tolist(), strict=True)
        ]
