"""PubMedQA's official split: 500 test questions, and ten folds of the other 500.

Every class is shuffled and cut on its own, so that all parts have the same share of each. The draws
are those of the dataset's own script (`preprocess/split_dataset.py`, seed 0), so that the parts are
the published ones, question by question.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

LABELS = ("yes", "no", "maybe")
FOLDS = 10
SEED = 0


class Split(NamedTuple):
    """PMIDs of each part, in their published order."""

    test: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]
    """The dev questions of each fold; its training questions are those of the other nine."""


def split(labels: Mapping[str, str]) -> Split:
    """The official split.

    Args:
        labels: PMID → yes, no or maybe, of all questions in the order of `ori_pqal.json`.

    Raises:
        KeyError: A label is none of the three.
    """
    draw = random.Random(SEED)
    rest, test = _parts(list(labels), labels, 2, draw)
    folds = _parts(rest, labels, FOLDS, draw)
    return Split(tuple(test), tuple(tuple(fold) for fold in folds))


def _parts(
    pmids: Sequence[str], labels: Mapping[str, str], count: int, draw: random.Random
) -> list[list[str]]:
    """Cut into `count` parts of equal shares; what one class lacks the last part gets from the others."""
    classes: dict[str, list[str]] = {label: [] for label in LABELS}
    for pmid in pmids:
        classes[labels[pmid]].append(pmid)
    parts: list[list[str]] = [[] for _ in range(count)]
    for members in classes.values():
        draw.shuffle(members)
        size = ceil(len(members) / count)
        for place, part in enumerate(parts):
            part += members[place * size :][: size if place < count - 1 else None]
    if len(parts[-1]) != len(parts[0]):
        for part in filter(None, parts[:-1]):
            picked = draw.choice(part)
            part.remove(picked)
            parts[-1].append(picked)
    return parts
