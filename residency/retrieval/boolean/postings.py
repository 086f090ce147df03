"""The arithmetic of building: what was collected, as sorted arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from residency.retrieval.boolean.collect import ABSTRACT_ZONE, PART, ZONE_BITS, Collector
from residency.retrieval.boolean.mesh import Vocabulary

_EXPLODED = {"mh": "mhx", "mj": "mjx", "mq": "mqx", "jq": "jqx", "pt": "ptx"}
"""Kinds of names, and the kind under which what is beneath them in the trees is found too."""


AT_ONCE, PASSES = 1_000_000, 64
"""Words that are sorted at once, or more where that would take more than so many passes."""
NO_WORD = 0xFFFFFFFF
"""The number of a word in a row that a later one of the same PMID replaces."""


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
    """The postings of words. Writes what is as long as they are, and gives the other arrays by their names.

    `words.places` has all places, those of word w from `words.places.starts[w]`. `words.docs` has the
    records of each word from `words.starts[w]`, with the zones it stands in (`words.zones`, a bit each) and
    its weight there (`words.weights`): tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / mean length)), tf
    counted in title and abstract. `words.df` is the number of records that have it in title or abstract.

    Words are taken some at a time and written at once, so that memory holds little more than each word's
    number. That is done in the collector's own array, which is of no use afterwards.
    """
    sizes = np.frombuffer(collector.sizes, dtype=np.uint32).astype(np.int64)
    segments = np.frombuffer(collector.segments, dtype=np.int64)
    doc = number[segments >> 32]
    tokens = _ranked(collector, vocabulary)
    if (doc < 0).any():
        tokens[np.repeat(doc < 0, sizes)] = NO_WORD
    after = np.cumsum(sizes)
    origin = ((doc << 32) | (segments & 0xFFFFFFFF)) - (after - sizes)
    counts = _counts(tokens, len(vocabulary))
    ends = np.cumsum(counts)
    norm = k1 * (1 - b + b * lengths.astype(np.float64) / max(float(lengths.mean()), 1.0))
    records = np.zeros(len(vocabulary), dtype=np.int64)
    frequencies = np.zeros(len(vocabulary), dtype=np.uint32)
    at_once = max(AT_ONCE, len(tokens) // PASSES)
    with (
        Growing(folder / "words.places.npy", np.int64) as all_places,
        Growing(folder / "words.docs.npy", np.uint32) as all_docs,
        Growing(folder / "words.zones.npy", np.uint8) as all_zones,
        Growing(folder / "words.weights.npy", np.float32) as all_weights,
    ):
        first = 0
        while first < len(vocabulary):
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + at_once, side="right")))
            chosen = np.flatnonzero((tokens >= first) & (tokens < last))
            word = tokens[chosen]
            at = origin[np.searchsorted(after, chosen, side="right")] + chosen
            order = np.lexsort((at, word))
            word, at = word[order], at[order]
            word_of, doc_of, zones, weights = _records(word, at, norm, k1)
            records[first:last] = np.bincount(word_of - first, minlength=last - first)
            frequencies[first:last] = np.bincount(word_of[weights > 0] - first, minlength=last - first)
            all_places.add(at)
            all_docs.add(doc_of)
            all_zones.add(zones)
            all_weights.add(weights)
            first = last
    return {
        "words.places.starts": np.append(0, ends).astype(np.int64),
        "words.starts": np.append(0, np.cumsum(records)).astype(np.int64),
        "words.df": frequencies,
    }


def _ranked(collector: Collector, vocabulary: list[str]) -> Any:
    """Every word of the corpus by its place in the vocabulary, in the array in which they were collected."""
    rank = np.empty(len(vocabulary), dtype=np.uint32)
    rank[[collector.words[word] for word in vocabulary]] = np.arange(len(vocabulary), dtype=np.uint32)
    tokens = np.frombuffer(collector.tokens, dtype=np.uint32)
    for start in range(0, len(tokens), AT_ONCE):
        block = tokens[start : start + AT_ONCE]
        block[:] = rank[block]
    return tokens


def _counts(tokens: Any, words: int) -> Any:
    """How often each word stands in the corpus; a block at a time: `bincount` makes long integers."""
    counts = np.zeros(words, dtype=np.int64)
    for start in range(0, len(tokens), AT_ONCE):
        block = tokens[start : start + AT_ONCE]
        counts += np.bincount(block[block != NO_WORD], minlength=words)
    return counts


class Growing:
    """A file of NumPy's form whose values come one part after the other."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self._stream = path.open("wb")
        self._dtype = np.dtype(dtype)
        self._count = 0
        self._header()
        self._start = self._stream.tell()

    def _header(self) -> None:
        described = np.lib.format.dtype_to_descr(self._dtype)
        said = {"descr": described, "fortran_order": False, "shape": (self._count,)}
        np.lib.format.write_array_header_1_0(self._stream, said)

    def add(self, values: Any) -> None:
        """Write more values."""
        self._stream.write(np.ascontiguousarray(values, dtype=self._dtype).data)
        self._count += len(values)

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                # The header leaves room for a longer number of values.
                self._stream.seek(0)
                self._header()
                assert self._stream.tell() == self._start
        finally:
            self._stream.close()


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
