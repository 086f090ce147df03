"""How much of exact search an approximate index finds.

recall@10: of the ten documents that exact search finds for a query, the share that the index
finds. A document as near as the tenth counts too: of equal ones, either is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from residency.retrieval import faiss_index
from residency.retrieval.shards import Shards

if TYPE_CHECKING:
    import numpy as np

K = 10
_SAME = 1e-5
"""Scores that differ by less, for their size, are equal: sums are rounded in another order."""
_WORTH = 0.002
"""The recall that a search twice as long must win."""
MOST = {"ef_search": 1024, "nprobe": 4096}


def tenth(shards: Shards, queries: np.ndarray, k: int = K) -> np.ndarray:
    """The score of the k-th best document for each query by exact search: (n,)."""
    import numpy as np

    best = np.full((len(queries), min(k, shards.count)), -np.inf, dtype=np.float32)
    for _, vectors in shards.all():
        scores = np.concatenate([best, queries @ vectors.T], axis=1)
        best = -np.partition(-scores, best.shape[1] - 1, axis=1)[:, : best.shape[1]]
    found: np.ndarray = best.min(axis=1)
    return found


def recall(
    index: Any, shards: Shards, queries: np.ndarray, least: np.ndarray, threads: int | None, k: int = K
) -> float:
    """The share of the k best of exact search that the index finds, over all queries.

    Args:
        index: The index, open.
        shards: The vectors that it was built of.
        queries: float32, (n, dimension).
        least: From `tenth`.
        threads: CPU threads to search with.
        k: How many are looked at.
    """
    import numpy as np

    positions, _ = faiss_index.search(index, queries, k, threads)
    wanted = min(k, shards.count)
    found = positions >= 0
    vectors = shards.take(np.where(found, positions, 0).ravel()).reshape(*positions.shape, -1)
    scores = np.einsum("nd,nkd->nk", queries, vectors)
    near = scores >= (least - _SAME * np.maximum(1.0, np.abs(least)))[:, None]
    return float((near & found).sum() / (len(queries) * wanted))


def reach(
    index: Any,
    type_: str,
    params: Mapping[str, Any],
    shards: Shards,
    queries: np.ndarray,
    floor: float,
    threads: int | None,
) -> tuple[float, dict[str, Any]]:
    """Measure an index, and where the recipe leaves it open, search it as hard as the floor asks.

    `ef_search` or `nprobe` is doubled until recall@10 is at the floor; one that the recipe gives
    stays as it is.

    Returns:
        The recall, and the parameters with the one chosen.
    """
    least = tenth(shards, queries)
    made = dict(params)
    key = faiss_index.SEARCHED.get(type_)
    if key is None or made.get(key) is not None:
        faiss_index.tune(index, made)
        return recall(index, shards, queries, least, threads), made
    most = min(MOST[key], made.get("nlist", MOST[key]))
    value, best = min(faiss_index.FIRST[key], most), -1.0
    while True:
        tried = {**params, key: value}
        faiss_index.tune(index, tried)
        found = recall(index, shards, queries, least, threads)
        if found > best + _WORTH:
            best, made = found, tried
        else:  # what is missing is lost in the codes, not in what is not looked at
            faiss_index.tune(index, made)
            return best, made
        if best >= floor or value >= most:
            return best, made
        value = min(value * 2, most)
