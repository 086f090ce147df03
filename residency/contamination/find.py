"""Compares training sets with evaluation sets, row by row."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from residency.contamination import common
from residency.contamination.fold import excerpt, letters
from residency.contamination.hashing import Places
from residency.contamination.index import Index, Part, build
from residency.contamination.rows import Place, RowSet, asked, identity, ids, prompt, read, texts

NGRAM = 13
"""Words in a row that two texts must share, as is usual since GPT-3."""
BATCH = 1 << 20
"""Bytes of letters that are looked at together."""


@dataclass(slots=True)
class Leak:
    """A row of an evaluation set that stands in a training set."""

    evaluation: Place
    training: Place
    ids: list[str] = field(default_factory=list)
    """What both rows bear: `pmid:31452104`."""
    field: str = ""
    """The field of the evaluation row whose text is shared; empty where only an id is."""
    words: int = 0
    """Words that are shared, of the `of` that the text has."""
    of: int = 0
    shared: str = ""
    """The longest stretch that is shared, as the evaluation row has it."""
    training_text: str = ""
    """The same as the training row has it."""
    allowed: bool = False


@dataclass(slots=True)
class Found:
    """What a comparison came to."""

    leaks: list[Leak]
    training: dict[str, int]
    """Set → rows."""
    evaluation: dict[str, int]
    common: int
    """Stretches of words that did not count, since many rows have them."""


@dataclass(slots=True)
class _Hit:
    """A training row in which stretches of evaluation rows stand."""

    set: int
    file: str
    number: int
    asks: bytes
    grams: Places


def compare(
    training: Sequence[RowSet],
    evaluation: Sequence[RowSet],
    *,
    ngram: int = NGRAM,
    named_ids: Sequence[str] = (),
    progress: Callable[[int], None] = lambda rows: None,
) -> Found:
    """Find the rows of the evaluation sets that stand in the training sets.

    Args:
        training: What a model learns from.
        evaluation: What it is measured on.
        ngram: Words in a row that texts must share.
        named_ids: Fields whose ids mean the same in all sets, beside PMIDs, NCT numbers and DOIs.
        progress: Told how many training rows have been looked at.

    Raises:
        Missing: A file is not there.
        StageFailed: A file cannot be read.
    """
    index, by_id, sizes = _load(evaluation, ngram, named_ids)
    scan = _Scan(index, by_id, named_ids, progress)
    counts = {chosen.name: scan.set(number, chosen) for number, chosen in enumerate(training)}
    hits, dropped = _without_common(scan.hits, list(counts.values()), index)
    leaks = list(_leaks(hits, scan.shared_ids, index, training, ngram))
    _excerpts(leaks, index, training)
    names = [chosen.name for chosen in evaluation]
    return Found(
        [leak for leak, _ in leaks], counts, dict(zip(names, sizes, strict=True)), index.common + dropped
    )


def _load(
    evaluation: Sequence[RowSet], ngram: int, named_ids: Sequence[str]
) -> tuple[Index, dict[str, list[int]], list[int]]:
    rows: list[Place] = []
    parts: list[Part] = []
    by_id: dict[str, list[int]] = {}
    sizes = []
    for number, chosen in enumerate(evaluation):
        before = len(rows)
        for file, line, row in read(chosen):
            for found in dict.fromkeys(ids(row, named_ids)):
                by_id.setdefault(found, []).append(len(rows))
            parts += [Part(len(rows), number, name, text) for name, text in prompt(row)]
            rows.append(Place(chosen.name, file, line, identity(row)))
        sizes.append(len(rows) - before)
    return build(rows, parts, sizes, ngram), by_id, sizes


@dataclass(slots=True)
class _Batch:
    """Training rows that are looked at together."""

    set: int
    rows: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """Where each row begins in `letters`."""
    letters: bytearray = field(default_factory=bytearray)
    """Of all rows, each text ended by a zero byte."""

    def add(self, file: str, line: int, row: dict[str, Any]) -> None:
        self.starts.append(len(self.letters))
        self.rows.append((file, line, row))
        for text in texts(row):
            self.letters += letters(text)
            self.letters += b"\0"


class _Scan:
    """Goes through the training sets, a batch of rows at a time."""

    def __init__(
        self,
        index: Index,
        by_id: dict[str, list[int]],
        named_ids: Sequence[str],
        progress: Callable[[int], None],
    ) -> None:
        self.index, self.by_id, self.named_ids, self.progress = index, by_id, named_ids, progress
        self.hits: list[_Hit] = []
        self.shared_ids: dict[tuple[int, str, int], dict[int, list[str]]] = {}
        """(set, file, number) of a training row → evaluation row → ids that both bear."""
        self.seen = 0

    def set(self, number: int, chosen: RowSet) -> int:
        """Look through a set; returns how many rows it has."""
        batch, rows = _Batch(number), 0
        # Numpy looks at one batch while the next is read; it lets other threads run meanwhile.
        with ThreadPoolExecutor(1) as beside:
            waiting: deque[tuple[_Batch, Future[tuple[Places, Places]]]] = deque()
            for file, line, row in read(chosen):
                rows += 1
                for found in dict.fromkeys(ids(row, self.named_ids)):
                    for other in self.by_id.get(found, ()):
                        known = self.shared_ids.setdefault((number, file, line), {})
                        known.setdefault(other, []).append(found)
                batch.add(file, line, row)
                if len(batch.letters) >= BATCH:
                    waiting.append((batch, beside.submit(self.index.find, bytes(batch.letters))))
                    batch = _Batch(number)
                    if len(waiting) > 1:
                        self._take(*waiting.popleft())
            waiting.append((batch, beside.submit(self.index.find, bytes(batch.letters))))
            while waiting:
                self._take(*waiting.popleft())
        return rows

    def _take(self, batch: _Batch, looked: Future[tuple[Places, Places]]) -> None:
        places, grams = looked.result()
        rows = np.searchsorted(np.array(batch.starts, dtype=np.int64), places, "right") - 1
        for at in np.unique(rows):
            file, line, row = batch.rows[at]
            digest = hashlib.blake2b(digest_size=12)
            for text in asked(row):
                digest.update(letters(text) + b"\0")
            self.hits.append(_Hit(batch.set, file, line, digest.digest(), np.unique(grams[rows == at])))
        self.seen += len(batch.rows)
        self.progress(self.seen)


def _without_common(hits: list[_Hit], sizes: Sequence[int], index: Index) -> tuple[list[_Hit], int]:
    """The hits less the stretches that too many different questions of a training set have.

    Rows that ask the same count once: a leaked question may have been answered many times.
    """
    count = len(index.grams)
    dropped = np.zeros(count, dtype=np.bool_)
    for number, size in enumerate(sizes):
        first = {hit.asks: hit for hit in hits if hit.set == number}
        if first:
            together = np.concatenate([hit.grams for hit in first.values()])
            dropped |= np.bincount(together, minlength=count) > common.limit(size)
    index.disown(dropped)
    kept = []
    for hit in hits:
        hit.grams = hit.grams[~dropped[hit.grams]]
        if len(hit.grams):
            kept.append(hit)
    return kept, int(dropped.sum())


def _leaks(
    hits: list[_Hit],
    shared_ids: dict[tuple[int, str, int], dict[int, list[str]]],
    index: Index,
    training: Sequence[RowSet],
    ngram: int,
) -> Iterator[tuple[Leak, tuple[int, Places]]]:
    """Each leak with the part and the stretches that show it (none where an id does)."""
    none = np.zeros(0, dtype=np.int64)
    by_row: dict[tuple[int, str, int], dict[int, tuple[int, int, Places]]] = {}
    for hit in hits:
        parts = index.grams.part[hit.grams]
        for number in np.unique(parts):
            part, grams = index.parts[number], hit.grams[parts == number]
            shared = index.shared(grams)
            spans = index.grams.last[grams] - index.grams.first[grams]
            if shared < index.needed(part, ngram) and int(spans.min()) >= ngram:
                continue
            known = by_row.setdefault((hit.set, hit.file, hit.number), {})
            if shared > known.get(part.row, (0, 0, none))[0]:
                known[part.row] = (shared, int(number), grams)
    for key in sorted({*by_row, *shared_ids}):
        texts_of, ids_of = by_row.get(key, {}), shared_ids.get(key, {})
        for row in sorted({*texts_of, *ids_of}):
            place = Place(training[key[0]].name, key[1], key[2])
            leak = Leak(index.rows[row], place, ids_of.get(row, []))
            shared, number, grams = texts_of.get(row, (0, -1, none))
            if number >= 0:
                leak.field, leak.words, leak.of = index.parts[number].field, shared, index.parts[number].words
            yield leak, (number, grams)


def _excerpts(leaks: list[tuple[Leak, tuple[int, Places]]], index: Index, training: Sequence[RowSet]) -> None:
    """Read the training rows that leak once more, for their ids and the text that is shared."""
    wanted: dict[tuple[str, str, int], list[tuple[Leak, tuple[int, Places]]]] = {}
    for leak, why in leaks:
        key = (leak.training.set, leak.training.file, leak.training.row)
        wanted.setdefault(key, []).append((leak, why))
    if not wanted:
        return
    for chosen in training:
        for file, line, row in read(chosen):
            for leak, (number, grams) in wanted.get((chosen.name, file, line), ()):
                leak.training = Place(chosen.name, file, line, identity(row))
                if number >= 0:
                    leak.shared, leak.training_text = _shown(index, number, grams, texts(row))


def _shown(index: Index, number: int, grams: Places, there: list[str]) -> tuple[str, str]:
    """The longest stretch that a part shares with a row's texts, as each of them writes it."""
    one = int(grams[np.argmax(index.grams.length[grams])])
    start = int(index.grams.start[one])
    alone = index.letters[start : start + int(index.grams.length[one])]
    # What overlaps in the part need not in the row: then one stretch must do.
    for stretch in (_longest(index, grams), alone):
        for text in there:
            if stretch in letters(text):
                return excerpt(index.parts[number].text, stretch), excerpt(text, stretch)
    return excerpt(index.parts[number].text, alone), ""


def _longest(index: Index, grams: Places) -> bytes:
    """The letters of the longest stretch that follows from overlapping stretches of one part."""
    best = (0, 0)
    start = end = -1
    for gram in sorted(grams, key=lambda g: int(index.grams.start[g])):
        begin, length = int(index.grams.start[gram]), int(index.grams.length[gram])
        if begin > end:
            start = begin
        end = max(end, begin + length)
        if end - start > best[1] - best[0]:
            best = (start, end)
    return index.letters[best[0] : best[1]]
