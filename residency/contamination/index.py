"""The stretches of words of the evaluation sets, and where they stand in a text.

Each stretch is found by the hash of its first bytes (an inverted index) and told from others by the
hash of the whole, so that every stretch that stands in a text is found, not a sample of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from residency.contamination import common
from residency.contamination.fold import words
from residency.contamination.hashing import Hashes, Places, Stretches
from residency.contamination.rows import Place

ANCHOR = 32
"""Bytes by which a stretch is looked up; a stretch of fewer letters takes in more words."""
SHORTEST = 6
"""Words of the shortest question that counts when it stands whole in a training row."""
_SPARSE = 6
"""Slots of the look-up table for each stretch, as a power of two: so few windows hit one by chance."""


@dataclass(slots=True)
class Part:
    """A text of an evaluation row."""

    row: int
    """The row's number over all sets."""
    set: int
    field: str
    text: str
    words: int = 0
    begin: int = 0
    """Where its words begin among those of all parts."""


@dataclass(slots=True)
class Grams:
    """Stretches of words, in the order of `anchor`."""

    part: Places
    first: Places
    """The first word in the part, and the one after the last."""
    last: Places
    start: Places
    """Where its letters stand in the index's text."""
    length: Places
    """Its letters, in bytes."""
    anchor: Hashes
    whole: Hashes

    def __len__(self) -> int:
        return len(self.part)

    def pick(self, which: NDArray[np.generic]) -> Grams:
        """Some of them: a mask, or places."""
        return Grams(*(getattr(self, name)[which] for name in self.__slots__))


@dataclass(slots=True)
class Index:
    """All stretches of the evaluation sets that tell a row from others."""

    rows: list[Place]
    parts: list[Part]
    letters: bytes
    grams: Grams
    common: int
    """Stretches that were left out, since too many rows of the evaluation set have them."""
    own: NDArray[np.bool_]
    """Of every word of every part, whether it is its row's own: not in a frame or in a common stretch."""
    _there: NDArray[np.bool_] = field(init=False)
    _shift: np.uint64 = field(init=False)

    def __post_init__(self) -> None:
        bits = min(28, len(self.grams).bit_length() + _SPARSE)
        self._shift = np.uint64(64 - bits)
        self._there = np.zeros(1 << bits, dtype=np.bool_)
        self._there[self._slot(self.grams.anchor)] = True

    def find(self, text: bytes) -> tuple[Places, Places]:
        """Where in `text` (letters, parted by zero bytes) stretches stand, and which."""
        found = Stretches(text)
        windows = found.windows(ANCHOR)
        places = np.flatnonzero(self._there[self._slot(windows)])
        anchors = windows[places]
        known = self.grams.anchor
        low = np.searchsorted(known, anchors, "left")
        there = low < len(known)
        there[there] = known[low[there]] == anchors[there]
        places, low, anchors = places[there], low[there], anchors[there]
        counts = np.searchsorted(known, anchors, "right") - low
        # Several stretches may begin alike: each of them is tried.
        first = np.repeat(np.cumsum(counts) - counts, counts)
        grams = np.repeat(low, counts) + np.arange(int(counts.sum())) - first
        places = np.repeat(places, counts)
        ends = places + self.grams.length[grams]
        fits = ends <= found.size
        places, grams, ends = places[fits], grams[fits], ends[fits]
        same = found.of(places, ends) == self.grams.whole[grams]
        return places[same], grams[same]

    def shared(self, grams: Places) -> int:
        """How many of a part's own words some of its stretches cover."""
        part = self.parts[int(self.grams.part[grams[0]])]
        covered = np.zeros(part.words, dtype=np.bool_)
        for gram in grams:
            covered[self.grams.first[gram] : self.grams.last[gram]] = True
        return int((covered & self._own(part)).sum())

    def needed(self, part: Part, ngram: int) -> int:
        """Own words that must be shared: a fifth of the text's, at least one stretch and at most two."""
        return min(2 * ngram, max(ngram, int(self._own(part).sum()) // 5))

    def disown(self, grams: NDArray[np.bool_]) -> None:
        """Note that the words of some stretches are no row's own."""
        self.own &= ~_words_of(self.grams.pick(grams), self.parts, len(self.own))

    def _slot(self, hashes: Hashes) -> Hashes:
        found: Hashes = (hashes * np.uint64(0xD6E8FEB86659FD93)) >> self._shift
        return found

    def _own(self, part: Part) -> NDArray[np.bool_]:
        return self.own[part.begin : part.begin + part.words]


def build(rows: list[Place], parts: list[Part], sizes: Sequence[int], ngram: int) -> Index:
    """Index the parts of the evaluation rows.

    Args:
        rows: The rows of all sets.
        parts: Their texts; `words` and `core` are filled in.
        sizes: How many rows each set has.
        ngram: Words of a stretch.
    """
    said = [words(part.text) for part in parts]
    cores = _cores(parts, said)
    columns: list[list[Places]] = [[], [], [], [], []]
    stream = bytearray()
    own = np.zeros(sum(map(len, said)), dtype=np.bool_)
    begins = 0
    for number, (part, spoken, (begin, end)) in enumerate(zip(parts, said, cores, strict=True)):
        coded = [word.encode() for word in spoken]
        part.words, part.begin = len(coded), begins
        own[begins + begin : begins + end] = True
        begins += len(coded)
        offsets = np.zeros(len(coded) + 1, dtype=np.int64)
        np.cumsum([len(word) for word in coded], out=offsets[1:])
        for first, last in _spans(offsets, ngram, begin, end):
            values = (np.full(len(first), number), first, last, offsets[first] + len(stream))
            for column, value in zip(columns, (*values, offsets[last] - offsets[first]), strict=True):
                column.append(value)
        stream += b"".join(coded) + b"\0"
    letters = bytes(stream)
    joined = [np.concatenate(column) if column else np.zeros(0, dtype=np.int64) for column in columns]
    part_of, first, last, start, length = (array.astype(np.int64) for array in joined)
    text = Stretches(letters)
    grams = Grams(
        part_of, first, last, start, length, text.of(start, start + ANCHOR), text.of(start, start + length)
    )
    many = _common(grams, parts, sizes)
    own &= ~_words_of(grams.pick(many), parts, len(own))
    kept = grams.pick(~many)
    ordered = kept.pick(np.argsort(kept.anchor, kind="stable"))
    return Index(rows, parts, letters, ordered, int(many.sum()), own)


def _spans(offsets: Places, ngram: int, begin: int, end: int) -> list[tuple[Places, Places]]:
    """First and last word of every stretch, and of a short question as a whole."""
    count = len(offsets) - 1
    found = []
    if count >= ngram:
        first = np.arange(count - ngram + 1)
        last = first + ngram
        # Thirteen words of few letters: take in what follows, until there is enough to look up.
        enough = np.searchsorted(offsets, offsets[first] + ANCHOR, "left")
        last = np.maximum(last, enough)
        found.append((first[last <= count], last[last <= count]))
    if SHORTEST <= end - begin < ngram and offsets[end] - offsets[begin] >= ANCHOR:
        found.append((np.array([begin]), np.array([end])))
    return found


def _words_of(grams: Grams, parts: Sequence[Part], count: int) -> NDArray[np.bool_]:
    """Which of all words some stretches cover."""
    begins = np.array([part.begin for part in parts], dtype=np.int64)[grams.part]
    steps = np.zeros(count + 1, dtype=np.int64)
    np.add.at(steps, begins + grams.first, 1)
    np.add.at(steps, begins + grams.last, -1)
    return np.cumsum(steps[:-1]) > 0


def _cores(parts: Sequence[Part], said: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """The core of each part among the parts of its set that stand in the same field."""
    groups: dict[tuple[int, str], list[int]] = {}
    for number, part in enumerate(parts):
        groups.setdefault((part.set, part.field), []).append(number)
    found = [(0, 0)] * len(parts)
    for numbers in groups.values():
        for number, core in zip(numbers, common.cores([said[n] for n in numbers]), strict=True):
            found[number] = core
    return found


def _common(grams: Grams, parts: Sequence[Part], sizes: Sequence[int]) -> NDArray[np.bool_]:
    """Which stretches stand in too many rows of their set."""
    if not len(grams):
        return np.zeros(0, dtype=np.bool_)
    sets = np.array([part.set for part in parts])[grams.part]
    rows = np.array([part.row for part in parts])[grams.part]
    order = np.lexsort((rows, grams.whole, sets))
    whole, of_set, row = grams.whole[order], sets[order], rows[order]
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = (whole[1:] != whole[:-1]) | (of_set[1:] != of_set[:-1])
    other_row = begins.copy()
    other_row[1:] |= row[1:] != row[:-1]
    group = np.cumsum(begins) - 1
    counts = np.bincount(group, weights=other_row)
    most = np.array([common.limit(size) for size in sizes])
    found = np.zeros(len(order), dtype=np.bool_)
    found[order] = counts[group] > most[of_set]
    return found
