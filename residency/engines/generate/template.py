"""Texts with columns in braces: `Question: {question}`, `{json.answer}`; `{{` and `}}` are braces."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_NAME = re.compile(r"[^\s.{}]+(?:\.[^\s.{}]+)*")


class Absent(LookupError):
    """A column that a row does not have, or that is null."""


def check(text: str) -> None:
    """Raise ValueError when a text is no template: a brace alone, or no name in braces."""
    for match in _PIECE.finditer(text):
        if match.group() in ("{", "}"):
            raise ValueError(f"a `{match.group()}` stands alone; a brace that is text is written twice")
        if match[1] is not None and not _NAME.fullmatch(match[1]):
            raise ValueError(f"`{match.group()}` names no column; a brace that is text is written twice")


def columns(text: str) -> list[str]:
    """The names in braces, each once, in their order."""
    return list(dict.fromkeys(m[1] for m in _PIECE.finditer(text) if m[1]))


def fill(text: str, row: Mapping[str, Any]) -> str:
    """The text with the row's values; what is no text is written as JSON.

    Raises:
        Absent: The row lacks a column.
    """

    def put(match: re.Match[str]) -> str:
        if match[1] is None:
            return match.group()[0]
        value = look_up(match[1], row)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _PIECE.sub(put, text)


def look_up(name: str, row: Mapping[str, Any]) -> Any:
    """The value of a column, or of a part of one by its dotted name. Raises Absent when there is none."""
    value: Any = row
    if name in row:
        value = row[name]
    else:
        for part in name.split("."):
            if isinstance(value, Mapping) and part in value:
                value = value[part]
            elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            else:
                raise Absent(f"it has no `{name}`")
    if value is None:
        raise Absent(f"its `{name}` is null")
    return value
