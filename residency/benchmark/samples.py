"""Several answers to each question: pass@k, majority vote, and how they vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from residency.benchmark.figures import Figure, figure
from residency.stats import majority, pass_at_k


class Sampled(NamedTuple):
    """A question with its gold answer, and what each sample said; None for one that could not be read."""

    gold: str
    said: Sequence[str | None]


def figures(questions: Sequence[Sampled], ks: Sequence[int] = (1,), *, seed: int = 0) -> list[Figure]:
    """pass@k for each k, the majority's accuracy (`maj@n`), and the share of samples not read.

    The bootstrap draws questions, each with all its samples.

    Raises:
        ValueError: A question has fewer samples than a k asks for; it is named by its number.
    """
    for number, (_, said) in enumerate(questions, 1):
        if len(said) < max(ks, default=1):
            raise ValueError(f"question {number} has {len(said)} samples, too few for pass@{max(ks)}")
    found = []
    for k in ks:
        each = [pass_at_k(len(said), sum(one == gold for one in said), k) for gold, said in questions]
        found.append(figure(f"pass@{k}", each, seed=seed))
    sizes = {len(said) for _, said in questions}
    name = f"maj@{sizes.pop()}" if len(sizes) == 1 else "maj@all"
    found.append(figure(name, [float(majority(said) == gold) for gold, said in questions], seed=seed))
    unread = [sum(one is None for one in said) / len(said) for _, said in questions]
    found.append(figure("unreadable", unread, seed=seed))
    return found
