"""Words next to each other, and words near each other, from the places of the words.

A place is one number: record, zone, position. The next word's place is one more, so a phrase in all
records at once is an intersection of sorted arrays. A place is left empty between two zones or items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from residency.retrieval.boolean.collect import ZONE_BITS


def phrase(exact: Sequence[tuple[int, Any]], any_of: Sequence[tuple[int, Any]]) -> Any:
    """Where a phrase starts.

    Args:
        exact: Of each single word its position in the phrase and its places, sorted.
        any_of: Of each `*` word its position and the places of all words it stands for, in any order.

    Returns:
        The places of the phrase's first word, sorted.
    """
    if exact:
        ranked = sorted(exact, key=lambda item: len(item[1]))
        position, places = ranked[0]
        starts = places - position
        waiting = ranked[1:]
    else:
        ranked = sorted(any_of, key=lambda item: len(item[1]))
        position, places = ranked[0]
        starts, waiting, any_of = np.unique(places - position), [], ranked[1:]
    for position, places in waiting:
        if not len(starts) or not len(places):
            return starts[:0]
        wanted = starts + position
        at = np.searchsorted(places, wanted)
        at[at == len(places)] = 0
        starts = starts[places[at] == wanted]
    for position, places in any_of:
        if not len(starts):
            return starts
        there = places - position
        at = np.searchsorted(starts, there)
        at[at == len(starts)] = 0
        starts = starts[np.unique(at[starts[at] == there])]
    return starts


def records(places: Any, zones: int) -> Any:
    """The records of places in the zones, in order, repeated ones too."""
    if zones != 15:
        places = places[((1 << ((places >> ZONE_BITS) & 0xF)) & zones) != 0]
    return places >> 32


def near(slots: Sequence[tuple[Any, int]], distance: int) -> Any:
    """One place of each group of words that stand near each other, in any order.

    Of every slot one place is taken, none twice. In the order of the text, between each and the next there
    are at most `distance` other words.

    Args:
        slots: The different words: places, sorted, and how many times the word is asked for.
        distance: Words between.
    """
    reach = distance + 1
    if len(slots) == 2 and all(times == 1 for _, times in slots):
        (a, _), (b, _) = slots
        if not len(a) or not len(b):
            return a[:0]
        after = np.searchsorted(b, a)
        following = b[np.minimum(after, len(b) - 1)]
        preceding = b[np.maximum(after - 1, 0)]
        hit = ((following > a) & (following - a <= reach)) | ((preceding < a) & (a - preceding <= reach))
        return a[hit]
    places = np.concatenate([at for at, _ in slots])
    slot = np.repeat(np.arange(len(slots)), [len(at) for at, _ in slots])
    order = np.argsort(places, kind="stable")
    places, slot = places[order], slot[order]
    if not len(places):
        return places
    begins = np.ones(len(places), dtype=bool)
    begins[1:] = np.diff(places) > reach
    first = np.flatnonzero(begins)
    whole = np.ones(len(first), dtype=bool)
    for number, (_, times) in enumerate(slots):
        whole &= np.add.reduceat((slot == number).astype(np.int64), first) >= times
    ends = np.append(first[1:], len(places))
    wanted = [times for _, times in slots]
    total = sum(wanted)
    hits = []
    for begin, end in zip(first[whole].tolist(), ends[whole].tolist(), strict=True):
        # All within reach of each other, or no more places than are asked for: any choice will do.
        sure = places[end - 1] - places[begin] <= reach or end - begin == total
        if sure or _chain(places[begin:end].tolist(), slot[begin:end].tolist(), wanted, reach):
            hits.append(places[begin])
    return np.array(hits, dtype=np.int64)


def _chain(places: list[int], slot: list[int], times: list[int], reach: int) -> bool:
    """Whether from one stretch of places every slot can be filled, neighbours at most `reach` apart.

    From left to right, for each place the sets of slots that a chain ending there can have filled.
    """
    wanted = tuple(times)
    reached: list[set[tuple[int, ...]]] = []
    for at, place in enumerate(places):
        mine = slot[at]
        alone = tuple(int(number == mine) for number in range(len(times)))
        found = {alone}
        before = at - 1
        while before >= 0 and place - places[before] <= reach:
            for filled in reached[before]:
                if filled[mine] < wanted[mine]:
                    found.add((*filled[:mine], filled[mine] + 1, *filled[mine + 1 :]))
            before -= 1
        if wanted in found:
            return True
        reached.append(found)
    return False
