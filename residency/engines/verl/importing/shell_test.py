"""Tests in a shell script, `[ … ]` and `[[ … ]]`, as far as their text decides them."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from residency.engines.verl.importing.shell_syntax import Chain, Simple, Statement
from residency.engines.verl.importing.shell_tokens import Word

if TYPE_CHECKING:
    from residency.engines.verl.importing.shell_words import Value

Expand = Callable[[Iterable[Word]], "list[Value]"]
_NUMBERS: dict[str, Callable[[int, int], bool]] = {
    "-eq": lambda a, b: a == b,
    "-ne": lambda a, b: a != b,
    "-gt": lambda a, b: a > b,
    "-ge": lambda a, b: a >= b,
    "-lt": lambda a, b: a < b,
    "-le": lambda a, b: a <= b,
}


def is_test(command: Simple) -> bool:
    """True for `[ … ]`, `[[ … ]]` and `test …`."""
    return bool(command.words) and command.words[0].plain in ("[", "[[", "test")


def decide(condition: Sequence[Statement], expand: Expand) -> bool | None:
    """Whether the condition of an `if` holds; None when its text does not tell."""
    if len(condition) != 1:
        return None
    statement = condition[0]
    if isinstance(statement, Simple):
        return holds(statement, expand) if is_test(statement) else None
    if isinstance(statement, Chain):
        outcome: bool | None = None
        for joint, part in statement.parts:
            if not isinstance(part, Simple) or not is_test(part) or joint == "|":
                return None
            here = holds(part, expand)
            if joint == "&&":
                outcome = False if False in (outcome, here) else None if None in (outcome, here) else True
            elif joint == "||":
                outcome = True if True in (outcome, here) else None if None in (outcome, here) else False
            else:
                outcome = here
        return outcome
    return None


def holds(command: Simple, expand: Expand) -> bool | None:
    """Whether a test holds; None when a hole is in it, or it asks for files."""
    words: list[str | None] = []
    for word in command.words[1:]:
        values = expand([word])
        quoted = any(part.quoted for part in word.parts)
        if not values and (quoted or word.parts):
            words.append("")
        for value in values:
            # A variable that the script does not set is empty, as long as nobody else sets it.
            told = [p if isinstance(p, str) else "" if p.kind == "variable" else None for p in value]
            words.append(None if None in told else "".join(map(str, told)))
    if words and words[-1] in ("]", "]]"):
        words.pop()
    return _evaluate(words)


def _evaluate(words: list[str | None]) -> bool | None:
    if words and words[0] == "!":
        outcome = _evaluate(words[1:])
        return None if outcome is None else not outcome
    if len(words) == 1:
        return None if words[0] is None else words[0] != ""
    if len(words) == 2:
        sign, value = words
        if value is None or sign not in ("-z", "-n"):
            return None
        return (value == "") == (sign == "-z")
    if len(words) != 3:
        return None
    left, sign, right = words
    if left is None or right is None or sign is None:
        return None
    if sign in ("=", "=="):
        return left == right or fnmatch.fnmatchcase(left, right)
    if sign == "!=":
        return left != right and not fnmatch.fnmatchcase(left, right)
    if sign in _NUMBERS:
        try:
            return _NUMBERS[sign](int(left), int(right))
        except ValueError:
            return None
    return None
