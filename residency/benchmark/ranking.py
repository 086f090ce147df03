"""Scores of a ranked list of PMIDs against those that are relevant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import log2
from typing import Any

CUTS = (100, 200, 300, 400, 500)
"""Ranks at which TrialPanorama scores study search."""

_PMID = re.compile(r"(?:PMID\s*:?\s*)?0*([1-9]\d{0,8})(?:\.0)?", re.IGNORECASE | re.ASCII)


def pmid(value: Any) -> int | None:
    """A PMID as a number, from 123, "123", "PMID: 123" or 123.0; None for anything else."""
    if isinstance(value, bool) or value is None:
        return None
    found = _PMID.fullmatch(str(value).strip())
    return int(found[1]) if found else None


def pmids(values: Any) -> list[int]:
    """The PMIDs of a list (or array), each once, in order; what is none is left out."""
    if values is None or isinstance(values, str | bytes) or not isinstance(values, Iterable):
        return []
    found = (pmid(one) for one in values)
    return list(dict.fromkeys(one for one in found if one is not None))


def scores(relevant: Iterable[Any], ranked: Iterable[Any], cuts: Sequence[int] = CUTS) -> dict[str, float]:
    """precision@k, recall@k, f1@k, ndcg@k for each k, and average precision (`map`).

    Precision at k divides by k, also where fewer than k were found. Average precision divides by
    the number of relevant ones and looks at the whole list. NDCG has binary gains and the discount
    log2(rank + 1); the ideal list has min(k, relevant) at its head (K. Järvelin and J. Kekäläinen,
    ACM Transactions on Information Systems 20 (2002) 422-446). A PMID that comes twice in the list
    counts at its first rank, and takes no other.

    Raises:
        ValueError: Nothing is relevant, so that no score has a meaning; or a cut is below 1.
    """
    wanted, found = set(pmids(relevant)), pmids(ranked)
    if not wanted:
        raise ValueError("there is no relevant PMID")
    if any(k < 1 for k in cuts):
        raise ValueError(f"a cut is {min(cuts)}, and must be 1 or more")
    hits = [one in wanted for one in found]
    result: dict[str, float] = {}
    for k in cuts:
        right = sum(hits[:k])
        precision, recall = right / k, right / len(wanted)
        result[f"precision@{k}"] = precision
        result[f"recall@{k}"] = recall
        result[f"f1@{k}"] = 2 * precision * recall / (precision + recall) if right else 0.0
        gain = sum(1 / log2(rank + 1) for rank, hit in enumerate(hits[:k], 1) if hit)
        best = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
        result[f"ndcg@{k}"] = gain / best
    right, total = 0, 0.0
    for rank, hit in enumerate(hits, 1):
        if hit:
            right += 1
            total += right / rank
    result["map"] = total / len(wanted)
    return result
