"""Wrong answers made of right ones: what a reward must not take for right.

Each is something that models under training are known to try, or that a careless reward lets
pass: another question's answer, no tags, nothing, the question itself, all options at once, the
right answer over and over.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

REPEATED = 100
MOST_OPTIONS = 12
"""Of an open-ended question, the options are the answers to so many other questions."""
MOST_OTHERS = 200

_TAG = re.compile(r"</?[A-Za-z][\w-]*>")
_HEADING = re.compile(r"^#{1,6} [^\n]*$", re.MULTILINE)

Group = list[str]
"""Corrupted answers of which at least one must score less than the right one."""


@dataclass(frozen=True, slots=True)
class GoldRow:
    """A question with its right answer."""

    prompt: str
    """All messages as text; it is handed to no reward, only echoed."""
    gold: str | None
    """A whole right answer, or None where none is known."""
    ground_truth: Any
    data_source: str = ""
    extra_info: dict[str, Any] = field(default_factory=dict)
    index: int = 0
    """The row's number, from 0."""


def of(row: GoldRow, others: Sequence[GoldRow], which: Sequence[str] | None = None) -> dict[str, list[Group]]:
    """The corrupted answers of a row, by name; a corruption that does not fit the data is left out.

    Args:
        row: The row, with a gold answer.
        others: Rows with other answers, as `different` gives them.
        which: Names among CORRUPTIONS; None: all.
    """
    found: dict[str, list[Group]] = {}
    others = [other for other in others if not _agree(row.ground_truth, other.ground_truth)]
    for name in CORRUPTIONS if which is None else which:
        groups = CORRUPTIONS[name](row, others)
        # Where the corruption leaves the answer as it was, there is nothing to tell apart.
        groups = [group for group in groups if all(text.strip() != _gold(row).strip() for text in group)]
        if groups:
            found[name] = groups
    return found


def different(rows: Iterable[GoldRow]) -> list[GoldRow]:
    """One row with a gold answer for each ground truth, MOST_OTHERS at most."""
    found: dict[str, GoldRow] = {}
    for row in rows:
        if row.gold and len(found) < MOST_OTHERS:
            found.setdefault(_key(row.ground_truth), row)
    return list(found.values())


def _gold(row: GoldRow) -> str:
    return row.gold or ""


def _wrong_answer(row: GoldRow, others: Sequence[GoldRow]) -> list[Group]:
    """The gold answer of another row, one whose truth is furthest from this one's where they are numbers."""
    if not others:
        return []
    number = as_number(row.ground_truth)
    if number is not None and number > 0:
        return [[_gold(max(others, key=lambda other: _apart(number, as_number(other.ground_truth))))]]
    return [[_gold(other)] for other in others[:3]]


def _missing_tag(row: GoldRow, others: Sequence[GoldRow]) -> list[Group]:
    """The gold answer without its tags, or where it has none, without its headings."""
    gold = _gold(row)
    return [[(_TAG if _TAG.search(gold) else _HEADING).sub("", gold)]]


def _empty(row: GoldRow, others: Sequence[GoldRow]) -> list[Group]:
    return [[""], [" \n"]]


def _prompt_echoed(row: GoldRow, others: Sequence[GoldRow]) -> list[Group]:
    return [[row.prompt]]


def _every_option(row: GoldRow, others: Sequence[GoldRow]) -> list[Group]:
    """The right answer first and last among others, in a tag each and all in one.

    Of two orders one must score less: a reward that takes the last answer for the one meant is
    no fault, as long as the others before it were not enough.
    """
    several = others[: MOST_OPTIONS - 1]
    if not several:
        return []
    orders = ([row, *several], [*several, row])
    groups = [["\n".join(_gold(one) for one in order) for order in orders]]
    texts = {id(one): _text(one.ground_truth) for one in orders[0]}
    at = _place(_gold(row), texts[id(row)])
    if at is not None and all(texts.values()):
        before, after = _gold(row)[: at[0]], _gold(row)[at[1] :]
        groups.append([before + ", ".join(str(texts[id(one)]) for one in order) + after for order in orders])
    return groups


def _place(gold: str, truth: str | None) -> tuple[int, int] | None:
    """Where the ground truth stands last in a gold answer, tags aside."""
    masked = _TAG.sub(lambda match: "\0" * len(match[0]), gold)
    start = masked.rfind(truth) if truth else -1
    return None if start < 0 or truth is None else (start, start + len(truth))


def once(text: str) -> str | None:
    """What `repeated` repeats in a text; None for any other text."""
    size, rest = divmod(len(text) + 1, REPEATED)
    unit = text[: size - 1]
    return unit if not rest and unit and "\n".join([unit] * REPEATED) == text else None


def _repeated(row: GoldRow, others: Sequence[GoldRow]) -> list[Group]:
    return [["\n".join([_gold(row)] * REPEATED)]]


CORRUPTIONS: dict[str, Callable[[GoldRow, Sequence[GoldRow]], list[Group]]] = {
    "wrong_answer": _wrong_answer,
    "missing_tag": _missing_tag,
    "empty": _empty,
    "prompt_echoed": _prompt_echoed,
    "every_option": _every_option,
    "repeated": _repeated,
}
"""As `gold_check.corruptions` of a recipe names them."""


def _agree(a: Any, b: Any) -> bool:
    """Whether two ground truths may have a right answer in common."""
    one = {_key(item) for item in a} if isinstance(a, list | tuple) else {_key(a)}
    two = {_key(item) for item in b} if isinstance(b, list | tuple) else {_key(b)}
    return bool(one & two)


def _key(truth: Any) -> str:
    return " ".join(str(truth).split()).casefold()


def _text(truth: Any) -> str | None:
    """A ground truth as it may stand in an answer."""
    if isinstance(truth, list | tuple):
        truth = truth[0] if truth else None
    return str(truth) if isinstance(truth, str | int | float) else None


def as_number(truth: Any) -> float | None:
    """A ground truth that is a number, or a text that is one; else None."""
    if isinstance(truth, bool) or not isinstance(truth, str | int | float):
        return None
    try:
        value = float(str(truth).replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _apart(number: float, other: float | None) -> float:
    """How far two numbers are apart, by their ratio; what is no positive number is furthest."""
    return math.inf if other is None or other <= 0 else abs(math.log(number / other))
