"""Phase A, question by question: documents, concepts, triples and snippets."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import inf, nan
from typing import NamedTuple

from residency.benchmark.bioasq.exact import NOTHING, PRF, prf
from residency.benchmark.bioasq.read import Snippet

EPSILON = 0.00001
"""Added to each average precision before its logarithm (GMAP)."""
MOST = 10
"""Average precision is over at most so many, as the rules ask for no more documents or snippets."""


class Retrieved(NamedTuple):
    """The scores of one kind of item for one question."""

    precision: float
    recall: float
    f1: float
    average_precision: float
    """NaN for snippets without gold ones, or whose sizes sum to 0."""


def divisor(edition: int, gold: int) -> float:
    """What average precision is divided by: since BioASQ 8 the gold items, at most ten; before, ten."""
    return float(min(MOST, gold)) if edition >= 8 else float(MOST)


def ranked(gold: Sequence[Hashable], found: Sequence[Hashable], edition: int) -> Retrieved:
    """Documents, concepts or triples, best first.

    Average precision sums the precision at each right item, over all that were given, and divides
    by `divisor`: with more than ten given it can be above 1.
    """
    if not found:
        return Retrieved(*NOTHING, 0.0)
    right, wanted = set(gold), set(found)
    hits, total = 0, 0.0
    for rank, item in enumerate(found, 1):
        if item in right:
            hits += 1
            total += hits / rank
    missed = sum(item not in wanted for item in gold)
    score = prf(hits, len(found), hits + missed)
    return Retrieved(*score, total / divisor(edition, len(gold)) if hits else 0.0)


def passages(gold: Sequence[Snippet], found: Sequence[Snippet], edition: int) -> Retrieved:
    """Snippets, best first, by the characters that they share with gold ones.

    Both lists are taken as `merged` leaves them. Precision and recall tell documents by the last
    part of their address; average precision by the whole address. In the latter a snippet counts as
    relevant when its document has any gold snippet, whether or not the two overlap, and weighs as
    much as the share of characters so far that are right.
    """
    by_id, by_address = _grouped(gold, whole=False), _grouped(gold, whole=True)
    shared = sum(overlap(one, other) for one in found for other in by_id.get(_short(one.document), ()))
    score = _characters(shared, sum(one.size for one in found), sum(one.size for one in gold))
    right = size = 0
    total = 0.0
    for one in found:
        same = by_address.get(one.document, [])
        right += sum(overlap(one, other) for other in same)
        size += one.size
        total += _quotient(right, size) * bool(same)
    average = _quotient(total, divisor(edition, len(gold)))
    return Retrieved(*(score if found else NOTHING), average)


def _characters(shared: int, given: int, wanted: int) -> PRF:
    precision = shared / given if given else 0.0
    recall = shared / wanted if wanted else 0.0
    both = precision + recall
    return PRF(precision, recall, 2 * precision * recall / both if both else 0.0)


def _quotient(above: float, below: float) -> float:
    """Division as in IEEE 754."""
    if below:
        return above / below
    return nan if above == 0 or above != above else inf if above > 0 else -inf


def _grouped(snippets: Sequence[Snippet], *, whole: bool) -> dict[str, list[Snippet]]:
    groups: dict[str, list[Snippet]] = {}
    for one in snippets:
        groups.setdefault(one.document if whole else _short(one.document), []).append(one)
    return groups


def _short(document: str) -> str:
    return document.rstrip("/").rpartition("/")[2]


def overlap(one: Snippet, other: Snippet) -> int:
    """Characters that two snippets of one document share; 0 in different sections.

    A system's section `0`, of the times when sections had numbers, matches an abstract.
    """
    same = (one.begin_section, one.end_section) == (other.begin_section, other.end_section)
    numbered = one.begin_section == "0" and other.begin_section == "abstract"
    if not (same or numbered) or one.begin > other.end or one.end < other.begin:
        return 0
    return min(one.end, other.end) - max(one.begin, other.begin) + 1


def merged(snippets: Sequence[Snippet]) -> list[Snippet]:
    """Snippets of one section of one document that overlap become one, in the place of the first."""
    found = list(snippets)
    place = 0
    while place < len(found):
        at = 0
        while at < len(found) and place < len(found):
            one, other = found[place], found[at]
            if at != place and _joins(one, other):
                begin, end = min(one.begin, other.begin), max(one.end, other.end)
                found[place] = Snippet(one.document, one.begin_section, one.end_section, begin, end, one.text)
                del found[at]
                at = 0  # the joined one may reach more
            at += 1
        place += 1
    return found


def _joins(one: Snippet, other: Snippet) -> bool:
    return (
        one.document == other.document
        and (one.begin_section, one.end_section) == (other.begin_section, other.end_section)
        and not (one.begin > other.end or one.end < other.begin)
    )
