"""Phase B, question by question: yes/no, factoid and list answers.

Answers are compared as texts in lower case, and in no other way: no punctuation, space or article
is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from residency.benchmark.bioasq.read import Answers

FACTOID_ANSWERS = 5
"""What the challenge's rules allow a factoid. The evaluator itself reads all that are given."""


class Factoid(NamedTuple):
    """How a list of candidates, best first, answers a factoid."""

    strict: float
    """1 when the first is right."""
    lenient: float
    """1 when any is."""
    mrr: float
    """1 over the rank of the first that is right; 0 without."""


class PRF(NamedTuple):
    """Precision, recall and their harmonic mean."""

    precision: float
    recall: float
    f1: float


NOTHING = PRF(0.0, 0.0, 0.0)


def lowered(answers: Answers | None, *, first: bool) -> list[set[str]]:
    """Each answer's texts in lower case; with `first` only the first of its synonyms.

    Since BioASQ 5 a system's synonyms do not count, only its first text for each answer.
    """
    return [{text.lower() for text in (one[:1] if first else one)} for one in answers or ()]


def factoid(gold: Answers | None, said: Answers | None) -> Factoid:
    """Score a system's ranked answers; one is right when it is any synonym of any gold answer."""
    right = set().union(*lowered(gold, first=False))
    for rank, answer in enumerate(lowered(said, first=True), 1):
        if answer & right:
            return Factoid(float(rank == 1), 1.0, 1 / rank)
    return Factoid(0.0, 0.0, 0.0)


def items(gold: Answers | None, said: Answers | None) -> PRF:
    """Score a list answer.

    Each answer takes, in order, the first gold entry left that it is a synonym of; without one it
    is wrong. So a second answer for the same entry is wrong too. A gold entry that is left counts
    as missed, unless an answer that is not yet used for that is a synonym of it.
    """
    answers = lowered(said, first=True)
    left = lowered(gold, first=False)
    if not answers:
        return NOTHING
    right = sum(_take(left, answer) for answer in answers)
    unused = list(answers)
    missed = sum(not _take(unused, entry) for entry in left)
    return prf(right, len(answers), right + missed)


def _take(entries: list[set[str]], answer: set[str]) -> bool:
    """Take the first of `entries` that shares a text with the answer."""
    for place, entry in enumerate(entries):
        if entry & answer:
            del entries[place]
            return True
    return False


def prf(right: float, given: float, wanted: float) -> PRF:
    """Precision, recall and F1 from counts; each 0 where there is nothing to divide by."""
    precision = right / given if given else 0.0
    recall = right / wanted if wanted else 0.0
    both = precision + recall
    return PRF(precision, recall, 2 * precision * recall / both if precision and recall and both else 0.0)


def f1_parts(pairs: Sequence[tuple[str, str | None]], label: str) -> list[tuple[float, float]]:
    """For the F1 of a yes/no label: (2·TP, 2·TP + errors) of each question, to be summed.

    An answer that is neither yes nor no, or none at all, is an error for both labels: the
    evaluator counts every wrong answer to a question of the label, and every wrong answer to a
    question of the other.
    """
    parts = []
    for gold, said in pairs:
        right = gold == said
        hit = 2.0 * (right and gold == label)
        parts.append((hit, hit + (not right)))
    return parts
