"""Splits that depend on the rows and the seed alone, not on their order.

Rows with the same key (`by: pmid`) go together: never one in training and one in the test.
Groups are taken in the order of a hash of seed and key. Counts are exact, and with `stratify`
each part has the same mix as the whole, to a row; without it, the field `label` is spread so.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from residency.files import canonical

REST = "rest"
OPTIONS = ("by", "seed", "stratify", "field")
"""The keys of `split:` that are not names of parts."""

Size = int | float | str


def order_key(seed: int, *parts: object) -> int:
    """A place in a random order that depends on the seed and the key alone."""
    text = b"\0".join([str(seed).encode(), *(canonical(part) for part in parts)])
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Split:
    """What a recipe's `split:` says."""

    parts: Mapping[str, Size]
    """Name → a number of rows, a share of all rows (0–1), or `rest`."""
    by: str | None = None
    """Rows with the same value of this field stay together; without it, rows that are the same."""
    seed: int = 0
    stratify: tuple[str, ...] | None = None
    """Each part has the same mix of these fields' values as the whole; None stands for `label`."""
    field: str | None = None
    """A field whose value already says the part; sizes then choose among its rows."""

    @property
    def strata(self) -> tuple[str, ...]:
        """The fields that are spread evenly."""
        return ("label",) if self.stratify is None else self.stratify


def split_of(value: Mapping[str, Any]) -> Split:
    """The split that a recipe's mapping says."""
    stratify = value.get("stratify")
    return Split(
        parts={str(k): v for k, v in value.items() if k not in OPTIONS},
        by=value.get("by"),
        seed=value.get("seed", 0),
        stratify=None if stratify is None else (stratify,) if isinstance(stratify, str) else tuple(stratify),
        field=value.get("field"),
    )


def problems(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(key, what is wrong) for each mistake in a `split:`; the key "" stands for the whole."""
    found: list[tuple[str, str]] = []
    parts = {k: v for k, v in value.items() if k not in OPTIONS}
    if not parts:
        found.append(("", "it names no part, such as `train: 0.8` and `test: 100`"))
    shares = 0.0
    for name, size in parts.items():
        if size == REST:
            continue
        if isinstance(size, bool) or not isinstance(size, int | float):
            found.append((name, "must be a number of rows, a share between 0 and 1, or `rest`"))
        elif isinstance(size, int) and size < 1:
            found.append((name, "must be at least 1 row"))
        elif isinstance(size, float):
            # NaN fails the comparison and is refused with the rest.
            if not 0 < size <= 1:
                found.append((name, "a share is above 0 and at most 1; a number of rows has no point"))
            else:
                shares += size
    if shares > 1 + 1e-9:
        found.append(("", f"its shares add up to {shares:g}, more than 1"))
    if list(parts.values()).count(REST) > 1 and not value.get("field"):
        found.append(("", "only one part can be the rest"))
    if not isinstance(value.get("seed", 0), int) or isinstance(value.get("seed"), bool):
        found.append(("seed", "must be a whole number"))
    return found


@dataclass
class Assigned:
    """Which row goes where."""

    parts: list[str | None]
    """For each row, in the order given: its part, or None."""
    short: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Part → (rows that it got, rows that it should have), where there were too few."""


def assign(keys: Sequence[int], strata: Sequence[object], parts: Mapping[str, Size]) -> Assigned:
    """Give each row a part.

    Args:
        keys: For each row, `order_key` of its group: rows of a group have the same.
        strata: For each row, what is to be spread evenly; all the same when nothing is.
        parts: Name → size.

    Returns:
        The part of each row. With counts, a group is cut where the count is reached, and what
        is left of it goes nowhere, so that no group stands in two parts.
    """
    groups: dict[int, list[int]] = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    order = sorted(groups)
    whole = Counter(strata)
    wanted = _targets(len(keys), parts)
    quotas = {name: _quota(n, whole) for name, n in wanted.items()}
    exact = {name: isinstance(parts[name], int) for name in wanted}
    result = Assigned([None] * len(keys))
    got: Counter[str] = Counter()
    free = dict.fromkeys(order)
    # Counts before shares: a count is exact, a share bends to whole groups.
    for name in sorted(wanted, key=lambda n: not exact[n]):
        quota = quotas[name]
        for key in list(free):
            if got[name] >= wanted[name]:
                break
            rows = groups[key]
            if not any(quota[strata[i]] > 0 for i in rows):
                continue
            del free[key]
            for i in rows:
                if quota[strata[i]] > 0 or not exact[name]:
                    quota[strata[i]] -= 1
                    result.parts[i] = name
                    got[name] += 1
        if got[name] < wanted[name] and exact[name]:
            result.short[name] = (got[name], wanted[name])
    rest = next((name for name, size in parts.items() if size == REST), None)
    if rest is None and abs(sum(s for s in parts.values() if isinstance(s, float)) - 1) < 1e-9:
        # Shares that add up to 1 leave nothing over.
        rest = [name for name, size in parts.items() if isinstance(size, float)][-1]
    if rest is not None:
        for key in free:
            for i in groups[key]:
                result.parts[i] = rest
    return result


def _targets(n: int, parts: Mapping[str, Size]) -> dict[str, int]:
    """Rows for each part but the rest."""
    return {
        name: size if isinstance(size, int) else round(n * float(size))
        for name, size in parts.items()
        if size != REST
    }


def _quota(n: int, whole: Counter[Any]) -> Counter[Any]:
    """`n` rows spread over the strata as the whole is (largest remainders)."""
    total = whole.total()
    if not total:
        return Counter()
    exact = {stratum: n * count / total for stratum, count in whole.items()}
    quota = Counter({stratum: int(share) for stratum, share in exact.items()})
    left = n - quota.total()
    by_remainder = sorted(exact, key=lambda s: (quota[s] - exact[s], repr(s)))
    for stratum in by_remainder[:left]:
        quota[stratum] += 1
    return quota
