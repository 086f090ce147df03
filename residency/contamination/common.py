"""What many rows of a set share: instructions, answer formats, stock phrases. It shows no leak."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

FRAME_WORDS = 5
"""Words in a row that many rows begin or end with, to be a part of their frame."""
EDGE = 40
"""Words at each end of a text among which a frame is looked for."""


def limit(rows: int) -> int:
    """In how many rows of a set a stretch of words may stand and still tell a row from others.

    A hundredth of the rows; in a small set a quarter of them, at most 20 (several questions about
    one abstract share it); never fewer than one.
    """
    return max(1, min(rows // 4, 20), rows // 100)


def cores(texts: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Where in each text its own words begin and end, the frame that many share cut off on both sides.

    `Does aspirin help? Answer with yes or no.` has the core `does aspirin help` when the rest
    stands in many of the texts. A text that is all frame has an empty core.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    for words in texts:
        counts.update({tuple(words[i : i + FRAME_WORDS]) for i in _edges(len(words))})
    most = limit(len(texts))
    return [_core(words, counts, most) for words in texts]


def _edges(count: int) -> list[int]:
    """Where the stretches of a text begin that stand near one of its ends."""
    last = count - FRAME_WORDS + 1
    return [*range(min(EDGE, last)), *range(max(min(EDGE, last), last - EDGE), last)]


def _core(words: Sequence[str], counts: Counter[tuple[str, ...]], most: int) -> tuple[int, int]:
    framed = [False] * len(words)
    for i in _edges(len(words)):
        if counts[tuple(words[i : i + FRAME_WORDS])] > most:
            framed[i : i + FRAME_WORDS] = [True] * FRAME_WORDS
    start, end = 0, len(words)
    while start < end and framed[start]:
        start += 1
    while end > start and framed[end - 1]:
        end -= 1
    return start, end
