"""The arithmetic of building: what was collected, as sorted arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from residency.retrieval.boolean.collect import ABSTRACT_ZONE, PART, ZONE_BITS, Collector
from residency.retrieval.boolean.mesh import Vocabulary

_EXPLODED = {"mh": "mhx", "mj": "mjx", "mq": "mqx", "jq": "jqx", "pt": "ptx"}
"""Kinds of names, and the kind under which what is beneath them in the trees is found too."""


def numbering(pmids: Any) -> Any:
    """The number of each row: its rank by PMID; -1 for a row that a later one of the same PMID replaces."""
    order = np.argsort(pmids, kind="stable")
    ranked = pmids[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    number = np.full(len(pmids), -1, dtype=np.int64)
    number[order[last]] = np.arange(int(last.sum()))
    return number


def places(collector: Collector, number: Any, vocabulary: list[str]) -> tuple[Any, Any]:
    """Every word of the corpus and where it stands: two arrays, by word and then by place."""
    rank = np.empty(len(vocabulary), dtype=np.uint32)
    rank[[collector.words[word] for word in vocabulary]] = np.arange(len(vocabulary), dtype=np.uint32)
    sizes = np.array(collector.sizes, dtype=np.int64)
    segments = np.frombuffer(collector.segments, dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    doc = number[segments >> 32]
    moved = (doc << 32) | (segments & 0xFFFFFFFF)
    found = np.repeat(moved - starts, sizes) + np.arange(int(sizes.sum()))
    tokens = rank[np.array(collector.tokens, dtype=np.int64)]
    kept = np.repeat(doc >= 0, sizes)
    tokens, found = tokens[kept], found[kept]
    order = np.lexsort((found, tokens))
    return tokens[order], found[order]


def words(tokens: Any, at: Any, count: int, lengths: Any, *, k1: float, b: float) -> dict[str, Any]:
    """The postings of words, from what `places` gives.

    `words.places` has all places, those of word w from `words.places.starts[w]`. `words.docs` has the
    records of each word from `words.starts[w]`, with the zones it stands in (`words.zones`, a bit each) and
    its weight there (`words.weights`): tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / mean length)), tf
    counted in title and abstract. `words.df` is the number of records that have it in title or abstract.
    """
    docs = at >> 32
    zones = (at >> ZONE_BITS) & 0xF
    new = np.ones(len(at), dtype=bool)
    new[1:] = (tokens[1:] != tokens[:-1]) | (docs[1:] != docs[:-1])
    first = np.flatnonzero(new)
    doc_of, word_of = docs[first], tokens[first]
    masks = (
        np.bitwise_or.reduceat((1 << zones).astype(np.uint8), first) if len(first) else np.zeros(0, np.uint8)
    )
    counted = (zones <= ABSTRACT_ZONE).astype(np.float64)
    tf = np.add.reduceat(counted, first) if len(first) else np.zeros(0)
    mean = max(float(lengths.mean()), 1.0)
    norm = k1 * (1 - b + b * lengths[doc_of].astype(np.float64) / mean)
    return {
        "words.places": at,
        "words.places.starts": np.searchsorted(tokens, np.arange(count + 1)).astype(np.int64),
        "words.docs": doc_of.astype(np.uint32),
        "words.zones": masks,
        "words.weights": (tf * (k1 + 1) / (tf + norm)).astype(np.float32),
        "words.starts": np.searchsorted(word_of, np.arange(count + 1)).astype(np.int64),
        "words.df": np.bincount(word_of[tf > 0], minlength=count).astype(np.uint32),
    }


def names(collector: Collector, number: Any) -> dict[str, Any]:
    """The records of each name, in order."""
    doc = number[np.array(collector.doc_of, dtype=np.int64)]
    name = np.array(collector.name_of, dtype=np.int64)
    name, doc = name[doc >= 0], doc[doc >= 0]
    order = np.lexsort((doc, name))
    name, doc = name[order], doc[order].astype(np.uint32)
    starts = np.searchsorted(name, np.arange(len(collector.names) + 1))
    return {
        text: doc[starts[at] : starts[at + 1]]
        for text, at in collector.names.items()
        if starts[at] < starts[at + 1]
    }


def explode(found: dict[str, Any], vocabulary: Vocabulary) -> None:
    """Add, for each heading and type, the records of all beneath it in the trees."""
    gathered: dict[str, list[Any]] = {}
    broader: dict[str, set[str]] = {}
    for name, docs in found.items():
        kind, at, *more = name.split(PART)
        if kind in _EXPLODED:
            if at not in broader:
                broader[at] = vocabulary.broader(at)
            for above in broader[at]:
                gathered.setdefault(PART.join((_EXPLODED[kind], above, *more)), []).append(docs)
    for name, parts in gathered.items():
        found[name] = parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))
