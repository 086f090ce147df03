"""Several answers to each question: pass@k, majority vote, and how they vary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from residency.benchmark.figures import Figure, figure


class Sampled(NamedTuple):
    """A question with its gold answer, and what each sample said; None for one that could not be read."""

    gold: str
    said: Sequence[str | None]


def pass_at_k(n: int, right: int, k: int) -> float:
    """The chance that of k samples, drawn from n of which `right` are right, at least one is.

    The unbiased estimator 1 - C(n - right, k) / C(n, k) of M. Chen et al., "Evaluating large
    language models trained on code" (arXiv:2107.03374), as a product that does not overflow.

    Raises:
        ValueError: k is not in 1..n, or `right` not in 0..n.
    """
    if not 1 <= k <= n or not 0 <= right <= n:
        raise ValueError(f"no pass@{k} from {right} right of {n} samples")
    missed = 1.0
    for place in range(k):
        missed *= max(0, n - right - place) / (n - place)
    return 1.0 - missed


def majority(said: Sequence[str | None]) -> str | None:
    """The answer given most often; of equals the one that was given first; None when none was read.

    Samples that could not be read do not vote.
    """
    votes = Counter(one for one in said if one is not None)
    # A Counter keeps the order in which its keys came, and max takes the first of equals.
    return max(votes, key=lambda one: votes[one]) if votes else None


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
