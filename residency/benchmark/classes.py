"""Answers that are one of a few classes: accuracy, macro-F1, and each class on its own.

Where every answer was read the figures are scikit-learn's (`accuracy_score`,
`precision_recall_fscore_support`). An answer that could not be read is wrong, a miss for its gold
class, and a false alarm for none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from residency.benchmark.figures import Array, Figure, average, divided, figure, ratio

Pair = tuple[str, str | None]
"""(gold, answer); None for an answer that could not be read."""


def classes(pairs: Sequence[Pair], labels: Sequence[str] = ()) -> list[str]:
    """The classes that are averaged: those that occur, gold or answered, `labels` first, in order."""
    found = {gold for gold, _ in pairs} | {said for _, said in pairs if said is not None}
    return [one for one in labels if one in found] + sorted(found - set(labels))


def figures(pairs: Sequence[Pair], labels: Sequence[str] = (), *, seed: int = 0) -> list[Figure]:
    """accuracy, macro_f1, and precision, recall and F1 of each class, each with its interval.

    Args:
        pairs: Gold and answer of each question.
        labels: The order of the classes; those that occur neither as gold nor as answer are left
            out, as scikit-learn does.
        seed: Of the bootstrap.
    """
    known = classes(pairs, labels)
    # For each class: right, answered, gold; of every question.
    counts = np.array(
        [
            [value for one in known for value in (gold == said == one, said == one, gold == one)]
            for gold, said in pairs
        ],
        dtype=np.float64,
    ).reshape(len(pairs), 3 * len(known))
    found = [
        figure("accuracy", [float(gold == said) for gold, said in pairs], average, seed=seed),
        figure("macro_f1", counts, macro, seed=seed),
    ]
    for place, one in enumerate(known):
        mine = counts[:, 3 * place : 3 * place + 3]
        found += [
            figure(f"precision_{one}", mine[:, [0, 1]], ratio, seed=seed),
            figure(f"recall_{one}", mine[:, [0, 2]], ratio, seed=seed),
            figure(f"f1_{one}", mine, _f1, seed=seed),
        ]
    return found


def _f1(sums: Array, n: int) -> Array:
    """2·TP / (answered + gold)."""
    return divided(2 * sums[:, 0], sums[:, 1] + sums[:, 2])


def macro(sums: Array, n: int) -> Array:
    """The mean F1 over classes that occur in a resample, from (right, answered, gold) of each."""
    right, answered, gold = (sums[:, place::3] for place in range(3))
    f1 = divided(2 * right, answered + gold)
    present = ((answered + gold) > 0).sum(axis=1)
    return divided(f1.sum(axis=1), present.astype(np.float64))
