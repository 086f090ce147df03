"""Hydra's overrides (`+data.x='[a,b]'`) as keys and values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from residency.engines.verl.tree import split_prefix

_KEY = re.compile(r"^[A-Za-z_][\w/]*(?:@[\w.]+)?(?:[.][\w-]+)*$")
_INTEGER = re.compile(r"[+-]?\d[\d_]*")
_FLOAT = re.compile(r"[+-]?(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*|\d[\d_]*)(?:[eE][+-]?\d+)?")
_SPECIAL = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Override:
    """One of Hydra's overrides."""

    name: str
    prefix: str
    value: Any


def parse(word: str) -> Override | None:
    """An override, or None for a word that is none."""
    prefix, rest = split_prefix(word.strip())
    name, equals, text = rest.partition("=")
    name = name.strip()
    if not _KEY.match(name) or (not equals and prefix != "~"):
        return None
    return Override(name, prefix, value(text) if equals else None)


def value(text: str) -> Any:
    """A value as Hydra reads it; what does not follow its grammar is text."""
    reader = _Values(text)
    try:
        found = reader.one(())
        reader.blanks()
    except ValueError:
        return text
    return found if reader.at == len(text) else text.strip()


class _Values:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def blanks(self) -> None:
        while self.peek() and self.peek().isspace():
            self.at += 1

    def one(self, ends: tuple[str, ...]) -> Any:
        self.blanks()
        char = self.peek()
        if char == "[":
            return self._list()
        if char == "{":
            return self._mapping()
        if char in ("'", '"') and char:
            start = self.at
            quoted = self._quoted()
            self.blanks()
            if not self.peek() or self.peek() in ends:
                return quoted
            self.at = start  # a quote inside of a text
        return self._plain(ends)

    def _quoted(self) -> str:
        quote = self.peek()
        self.at += 1
        found = []
        while (char := self.peek()) and char != quote:
            if char == "\\" and self.text[self.at + 1 : self.at + 2] in (quote, "\\"):
                self.at += 1
                char = self.peek()
            found.append(char)
            self.at += 1
        if not self.peek():
            raise ValueError("a quote is never closed")
        self.at += 1
        return "".join(found)

    def _plain(self, ends: tuple[str, ...]) -> Any:
        start, depth = self.at, 0
        while char := self.peek():
            if depth == 0 and char in ends:
                break
            depth += (char in "{[(") - (char in "}])")
            self.at += 1
        return scalar(self.text[start : self.at].strip())

    def _list(self) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        while True:
            self.blanks()
            if self.peek() == "]":
                self.at += 1
                return found
            found.append(self.one((",", "]")))
            self.blanks()
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != "]":
                raise ValueError("a list is never closed")

    def _mapping(self) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        while True:
            self.blanks()
            if self.peek() == "}":
                self.at += 1
                return found
            key = self.one((":",))
            if self.peek() != ":":
                raise ValueError("a mapping without a colon")
            self.at += 1
            found[str(key)] = self.one((",", "}"))
            self.blanks()
            if self.peek() == ",":
                self.at += 1
            elif self.peek() != "}":
                raise ValueError("a mapping is never closed")


def scalar(text: str) -> Any:
    """An unquoted value: a number, true, false, null, or text."""
    if text.lower() in _SPECIAL:
        return _SPECIAL[text.lower()]
    try:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    except ValueError:
        return text
    return text
