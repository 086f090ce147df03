"""The arithmetic of building: what was collected, as sorted arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from residency.retrieval.boolean.collect import ABSTRACT_ZONE, PART, ZONE_BITS, Collector
from residency.retrieval.boolean.mesh import Vocabulary

_EXPLODED = {"mh": "mhx", "mj": "mjx", "mq": "mqx", "jq": "jqx", "pt": "ptx"}
"""Kinds of names, and the kind under which what is beneath them in the trees is found too."""


AT_ONCE = 4_000_000
"""Words that are sorted at once."""


def numbering(pmids: Any) -> Any:
    """The number of each row: its rank by PMID; -1 for a row that a later one of the same PMID replaces."""
    order = np.argsort(pmids, kind="stable")
    ranked = pmids[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    number = np.full(len(pmids), -1, dtype=np.int64)
    number[order[last]] = np.arange(int(last.sum()))
    return number


def words(
    collector: Collector,
    number: Any,
    vocabulary: list[str],
    lengths: Any,
    folder: Path,
    *,
    k1: float,
    b: float,
) -> dict[str, Any]:
    """The postings of words. Writes `words.places.npy`, and gives the other arrays by their names.

    `words.places` has all places, those of word w from `words.places.starts[w]`. `words.docs` has the
    records of each word from `words.starts[w]`, with the zones it stands in (`words.zones`, a bit each) and
    its weight there (`words.weights`): tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / mean length)), tf
    counted in title and abstract. `words.df` is the number of records that have it in title or abstract.

    Words are taken some at a time, so that memory holds little more than each word's number and place.
    """
    tokens, places = _tokens(collector, number, vocabulary)
    counts = np.bincount(tokens, minlength=len(vocabulary))
    ends = np.cumsum(counts)
    out = np.lib.format.open_memmap(
        folder / "words.places.npy", mode="w+", dtype=np.int64, shape=(len(tokens),)
    )
    norm = k1 * (1 - b + b * lengths.astype(np.float64) / max(float(lengths.mean()), 1.0))
    none = np.zeros(0, dtype=np.int64)
    parts = [_records(none.astype(np.uint32), none, norm, k1)]
    first, written = 0, 0
    while first < len(vocabulary):
        last = max(first + 1, int(np.searchsorted(ends, written + AT_ONCE, side="right")))
        chosen = np.flatnonzero((tokens >= first) & (tokens < last))
        word, at = tokens[chosen], places[chosen]
        order = np.lexsort((at, word))
        word, at = word[order], at[order]
        out[written : written + len(at)] = at
        written += len(at)
        parts.append(_records(word, at, norm, k1))
        first = last
    out.flush()
    word_of, doc_of, zones, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
    return {
        "words.places.starts": np.append(0, ends).astype(np.int64),
        "words.docs": doc_of,
        "words.zones": zones,
        "words.weights": weights,
        "words.starts": np.searchsorted(word_of, np.arange(len(vocabulary) + 1)).astype(np.int64),
        "words.df": np.bincount(word_of[weights > 0], minlength=len(vocabulary)).astype(np.uint32),
    }


def _tokens(collector: Collector, number: Any, vocabulary: list[str]) -> tuple[Any, Any]:
    """Every word of the corpus by its number, and where it stands."""
    rank = np.empty(len(vocabulary), dtype=np.uint32)
    rank[[collector.words[word] for word in vocabulary]] = np.arange(len(vocabulary), dtype=np.uint32)
    sizes = np.frombuffer(collector.sizes, dtype=np.uint32).astype(np.int64)
    segments = np.frombuffer(collector.segments, dtype=np.int64)
    doc = number[segments >> 32]
    places = np.repeat(((doc << 32) | (segments & 0xFFFFFFFF)) - (np.cumsum(sizes) - sizes), sizes)
    for start in range(0, len(places), AT_ONCE):
        stretch = places[start : start + AT_ONCE]
        stretch += np.arange(start, start + len(stretch))
    tokens = rank[np.frombuffer(collector.tokens, dtype=np.uint32)]
    if (doc < 0).any():
        kept = np.repeat(doc >= 0, sizes)
        return tokens[kept], places[kept]
    return tokens, places


def _records(word: Any, at: Any, norm: Any, k1: float) -> tuple[Any, Any, Any, Any]:
    """Word, record, zones and weight, once for each record of each word; words and places are sorted."""
    docs = at >> 32
    zones = (at >> ZONE_BITS) & 0xF
    new = np.ones(len(at), dtype=bool)
    new[1:] = (word[1:] != word[:-1]) | (docs[1:] != docs[:-1])
    first = np.flatnonzero(new)
    doc_of = docs[first]
    if not len(first):
        return word, doc_of.astype(np.uint32), word.astype(np.uint8), word.astype(np.float32)
    masks = np.bitwise_or.reduceat((1 << zones).astype(np.uint8), first)
    tf = np.add.reduceat((zones <= ABSTRACT_ZONE).astype(np.float64), first)
    weights = tf * (k1 + 1) / (tf + norm[doc_of])
    return word[first], doc_of.astype(np.uint32), masks, weights.astype(np.float32)


def names(collector: Collector, number: Any) -> dict[str, Any]:
    """The records of each name, in order."""
    doc = number[np.frombuffer(collector.doc_of, dtype=np.uint32)]
    name = np.frombuffer(collector.name_of, dtype=np.uint32)
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
