"""Rows with options: `{id, question, options: {letter: text}, label: letter}`, checked one by one.

Others of a row's fields that mean something here: `context`, evidence as a text or a list of texts
(open book), and `source`, the set that the row is of. What else a row has is kept.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

LETTERS = string.ascii_uppercase
FEWEST, MOST = 2, len(LETTERS)


class BadRow(ValueError):
    """A row that is no question: what is wrong with it."""

    def __init__(self, text: str, kind: str = "options that cannot be read") -> None:
        """Set it up.

        Args:
            text: What is wrong with this row.
            kind: What is wrong with it and its like, by which they are counted.
        """
        super().__init__(text)
        self.kind = kind


def options_of(given: Any) -> dict[str, str]:
    """Options as letter → text, in the order of their letters.

    Args:
        given: {letter: text}; a list of texts; or a list of {letter, content} or {key, value}. Letters that
            have None are no options (a table has every letter that any of its rows has).

    Raises:
        BadRow: There are fewer than two, one is empty, or the letters are not A, B, C, … without a gap.
    """
    found: dict[str, str] = {}
    for letter, text in _pairs(given):
        if letter in found:
            raise BadRow(f"it has option {letter} twice")
        found[letter] = text
    if len(found) < FEWEST:
        raise BadRow(f"it has {len(found)} options, and needs two")
    if len(found) > MOST:
        raise BadRow(f"it has {len(found)} options, more than there are letters")
    wanted = LETTERS[: len(found)]
    if "".join(sorted(found)) != wanted:
        shown = ", ".join(found)
        raise BadRow(f"its options are {shown:.80}, and must be {wanted[0]} to {wanted[-1]} without a gap")
    empty = [letter for letter in sorted(found) if not found[letter]]
    if empty:
        raise BadRow(f"its option {empty[0]} is empty", "an empty option")
    return dict(sorted(found.items()))


def _pairs(given: Any) -> list[tuple[str, str]]:
    if isinstance(given, Mapping):
        return [(_letter(key), _text(text)) for key, text in given.items() if text is not None]
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BadRow("it has no options")
    pairs = []
    for place, item in enumerate(given):
        if isinstance(item, Mapping):
            key = item.get("letter", item.get("key"))
            pairs.append((_letter(key), _text(item.get("content", item.get("value")))))
        else:
            if place >= MOST:
                raise BadRow(f"it has {len(given)} options, more than there are letters")
            pairs.append((LETTERS[place], _text(item)))
    return pairs


def _letter(value: Any) -> str:
    letter = str(value).strip().strip("().").upper()
    if len(letter) != 1 or letter not in LETTERS:
        raise BadRow(f"its option {value!r:.40} has no letter from A to Z")
    return letter


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def label_of(given: Any, options: Mapping[str, str]) -> str:
    """The right letter.

    Args:
        given: A letter, or a list with one.
        options: Letter → text.

    Raises:
        BadRow: There is none, there are several, or it is not among the options.
    """
    if isinstance(given, list | tuple):
        if len(given) > 1:
            raise BadRow(f"it has {len(given)} labels: {', '.join(map(str, given)):.60}", "several labels")
        given = given[0] if given else None
    if given is None or not str(given).strip():
        raise BadRow("it has no label", "no label")
    letter = str(given).strip().strip("().").upper()
    if letter not in options:
        raise BadRow(
            f"its label {given!r:.40} is none of its options, {', '.join(options)}",
            "a label outside the options",
        )
    return letter


def item(row: Any, number: int) -> dict[str, Any]:
    """A row as it is asked: `id`, `system`, `question`, `context`, `options`, `labels`, `answer`, `row`.

    Args:
        row: A row with options.
        number: Its number in its file, its name when it has no `id`.

    Raises:
        BadRow: What is wrong with it.
    """
    if not isinstance(row, Mapping):
        raise BadRow("it is not a mapping", "no mapping")
    question = _text(row.get("question"))
    if not question:
        raise BadRow("it lacks question", "no question")
    options = options_of(row.get("options"))
    return {
        "id": str(row["id"]) if row.get("id") not in (None, "") else str(number),
        "system": _text(row.get("system")),
        "question": question,
        "context": passages(row.get("context")),
        "options": options,
        "labels": list(options),
        "answer": label_of(row.get("label"), options),
        "row": row,
    }


def passages(given: Any) -> list[str]:
    """Evidence as a list of texts: what `context` holds, be it nothing, a text, texts, or documents.

    A document is a mapping with `contents`, or with `title` and `text`.
    """
    if given is None or given == "":
        return []
    found = []
    for one in given if isinstance(given, list | tuple) else [given]:
        if isinstance(one, Mapping):
            parts = [one.get("contents")] if one.get("contents") else [one.get("title"), one.get("text")]
            one = "\n".join(str(part) for part in parts if part)
        if str(one).strip():
            found.append(str(one).strip())
    return found
