"""Did you mean …? The options that a misspelt word is closest to."""

from __future__ import annotations

from collections.abc import Iterable


def closest(word: str, options: Iterable[str], *, n: int = 1) -> list[str]:
    """The at most `n` options that `word` may have been meant to be, best first.

    An option counts when at most about a third of the word has to be changed (insertions,
    deletions, substitutions and swaps of neighbours), or when the words differ only in
    case, in `-`, `_`, `.` and blanks, in the order of their parts (`rate_learning`) or in
    parts left out (`num_epochs` for `num_train_epochs`). The word itself is never given back.

    Examples:
        >>> closest("learning_rte", ["learning_rate", "lora_rank"])
        ['learning_rate']
        >>> closest("xyz", ["learning_rate"])
        []
    """
    folded = _fold(word)
    parts = sorted(_parts(word))
    found: list[tuple[float, int, str]] = []
    for position, option in enumerate(dict.fromkeys(options)):
        if option == word:
            continue
        cost = _cost(word, folded, parts, option)
        if cost is not None:
            found.append((cost, position, option))
    return [option for _, _, option in sorted(found)[:n]]


def did_you_mean(word: str, options: Iterable[str]) -> str | None:
    """The hint `did you mean X?`, or None when nothing is close."""
    found = closest(word, options)
    return f"did you mean `{found[0]}`?" if found else None


def distance(a: str, b: str, limit: int | None = None) -> int:
    """Edits that turn `a` into `b`, a swap of neighbours counting as one.

    This is the optimal string alignment distance. With `limit`, any value above it may be
    returned for a pair that is further apart; the search then stops early.
    """
    if limit is None:
        limit = max(len(a), len(b))
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    above = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            best = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        if min(row) > limit and min(above) > limit:
            return limit + 1
        before, above = above, row
    return above[-1]


def _cost(word: str, folded: str, parts: list[str], option: str) -> float | None:
    """How far an option is from the word, or None when it is too far to be meant."""
    other = _fold(option)
    if other == folded:
        return 0.0
    others = _parts(option)
    if len(parts) > 1 and all(part in others for part in parts):
        return 0.5 + (len(others) - len(parts)) / 2
    longest = max(len(folded), len(other))
    limit = 1 if longest <= 4 else max(2, longest // 3)
    if min(len(folded), len(other)) <= 1:
        return None
    edits = distance(folded, other, limit)
    if edits <= limit:
        # Between equals: people rarely misspell the first letters, and often swap letters.
        shared = 2 if other[:2] == folded[:2] else int(other[0] == folded[0])
        swapped = sorted(other) == sorted(folded)
        separators = distance(word, option) - edits
        return edits - 0.15 * shared - (0.2 if swapped else 0.0) + separators / 100
    # A word cut short (`warmup` for `warmup_ratio`), or one with something added.
    shorter, longer = sorted((folded, other), key=len)
    if len(shorter) >= 4 and longer.startswith(shorter):
        return limit + len(longer) / 100
    return None


def _fold(word: str) -> str:
    """The word without case and separators."""
    return "".join(c for c in word.casefold() if c not in "-_. ")


def _parts(word: str) -> list[str]:
    """The parts of `learning_rate` or `actor.optim.lr`."""
    return word.casefold().replace("-", "_").replace(".", "_").replace(" ", "_").split("_")
