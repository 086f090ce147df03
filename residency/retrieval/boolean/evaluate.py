"""A query's meaning as the records that match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from residency.retrieval.boolean import phrases
from residency.retrieval.boolean.index import Index
from residency.retrieval.boolean.meaning import (
    Days,
    Everything,
    Leaf,
    Matching,
    Meaning,
    Names,
    Near,
    Nothing,
    PmidRange,
    Pmids,
    Steps,
    Text,
)

ALL_ZONES = 15


class Evaluator:
    """Looks up one query; what is not found goes to `missing`."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.missing: list[str] = []

    def records(self, meaning: Meaning) -> Any:
        """The records that match, as a mask: one boolean a record."""
        if not isinstance(meaning, Steps):
            return self._mask(self._leaf(meaning))
        mask = self.records(meaning.first)
        for operator, operand in meaning.rest:
            if isinstance(operand, Steps):
                other = self.records(operand)
                if operator == "OR":
                    mask |= other
                elif operator == "AND":
                    mask &= other
                else:
                    mask &= ~other
                continue
            docs = self._leaf(operand)
            if operator == "OR":
                mask[docs] = True
            elif operator == "NOT":
                mask[docs] = False
            else:
                mask &= self._mask(docs)
        return mask

    def _mask(self, docs: Any) -> Any:
        mask = np.zeros(self.index.count, dtype=bool)
        mask[docs] = True
        return mask

    def _leaf(self, leaf: Leaf) -> Any:
        """The records of a leaf, as numbers in any order, or a slice of all."""
        docs = self._LEAVES[type(leaf)](self, leaf)
        if not isinstance(docs, slice) and not len(docs) and not getattr(leaf, "quiet", True):
            self.missing.append(leaf.shown)
        return docs

    def _text(self, leaf: Text) -> Any:
        index = self.index
        if len(leaf.words) == 1:
            return word_docs(index, index.word_numbers(leaf.words[0]), leaf.zones)
        exact, any_of = [], []
        for position, pattern in enumerate(leaf.words):
            places = word_places(index, index.word_numbers(pattern))
            if not len(places):
                return index.word_docs[:0]
            (any_of if "*" in pattern else exact).append((position, places))
        return phrases.records(phrases.phrase(exact, any_of), leaf.zones)

    def _near(self, leaf: Near) -> Any:
        slots = []
        for word, times in Counter(leaf.words).items():
            places = word_places(self.index, self.index.word_numbers(word))
            zones = (places >> phrases.ZONE_BITS) & 0xF
            slots.append((places[((1 << zones) & leaf.zones) != 0], times))
        return phrases.near(slots, leaf.distance) >> 32

    def _names(self, leaf: Names) -> Any:
        if len(leaf.names) == 1:
            return self.index.docs_of(leaf.names[0])
        return np.concatenate([self.index.docs_of(name) for name in leaf.names])

    def _matching(self, leaf: Matching) -> Any:
        return self.index.docs_matching(leaf.kind, leaf.prefix, leaf.pattern)

    def _days(self, leaf: Days) -> Any:
        dates = self.index.dates
        return np.flatnonzero((dates >= leaf.first) & (dates <= leaf.last) & (dates > 0))

    def _pmids(self, leaf: Pmids) -> Any:
        pmids = self.index.pmids
        wanted = np.array(leaf.numbers, dtype=np.int64)
        at = np.minimum(np.searchsorted(pmids, wanted), len(pmids) - 1)
        return at[pmids[at] == wanted]

    def _pmid_range(self, leaf: PmidRange) -> Any:
        pmids = self.index.pmids
        return slice(*np.searchsorted(pmids, [leaf.first, leaf.last + 1]).tolist())

    def _everything(self, leaf: Everything) -> Any:
        return slice(None)

    def _nothing(self, leaf: Nothing) -> Any:
        return self.index.word_docs[:0]

    _LEAVES: dict[type, Callable[[Evaluator, Any], Any]] = {  # noqa: RUF012
        Text: _text,
        Near: _near,
        Names: _names,
        Matching: _matching,
        Days: _days,
        Pmids: _pmids,
        PmidRange: _pmid_range,
        Everything: _everything,
        Nothing: _nothing,
    }


def word_docs(index: Index, numbers: tuple[int, ...] | range, zones: int) -> Any:
    """The records that have one of these words in the zones; repeated ones too."""
    parts = []
    for first, last in runs(numbers):
        begin, end = index.word_starts[first], index.word_starts[last]
        docs = index.word_docs[begin:end]
        parts.append(docs if zones == ALL_ZONES else docs[(index.word_zones[begin:end] & zones) != 0])
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else index.word_docs[:0]


def word_places(index: Index, numbers: tuple[int, ...] | range) -> Any:
    """The places of these words, sorted where it is one word."""
    parts = [index.places[index.place_starts[a] : index.place_starts[b]] for a, b in runs(numbers)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else index.places[:0]


def runs(numbers: tuple[int, ...] | range) -> list[tuple[int, int]]:
    """Numbers as stretches [first, last) that lie side by side."""
    if isinstance(numbers, range):
        return [(numbers.start, numbers.stop)] if len(numbers) else []
    return [(number, number + 1) for number in numbers]
