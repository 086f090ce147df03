"""JSON text as placed nodes, so that a mistake in a JSON file has its line and column too."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from pathlib import Path

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Sequence, Span

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = json.JSONDecoder()
_WORD = re.compile(r"[^\s,\]}]+")


def shown(path: Path, cwd: Path) -> str:
    """A path as messages name it: relative to the current folder when below it."""
    try:
        return str(path.absolute().relative_to(cwd))
    except ValueError:
        return str(path)


def read(path: Path, found: Diagnostics, *, name: str | None = None) -> Node | None:
    """The document in a JSON file, or None when it is no JSON, which is then said (`bad-json`).

    Raises:
        OSError: the file cannot be read.
    """
    name = name or str(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        found.add("bad-json", f"{name} is not UTF-8 text", Span(name, 1, 1, 1, 1))
        return None
    found.sources.setdefault(name, text)
    return parse(text, name, found)


def parse(text: str, name: str, found: Diagnostics) -> Node | None:
    """The document in a text; duplicate keys are errors too, the last one counts."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        span = Span(name, error.lineno, error.colno, error.lineno, error.colno + 1)
        found.add("bad-json", f"this is not JSON: {_words(error)}", span, hint=_advice(text, error))
        return None
    except RecursionError:
        found.add("bad-json", "the JSON is nested too deeply", Span(name, 1, 1, 1, 1))
        return None
    return _Reader(text, name, found).value(0)[0]


class _Reader:
    """Reads a text that is known to be JSON."""

    def __init__(self, text: str, name: str, found: Diagnostics) -> None:
        self.text, self.name, self.found = text, name, found
        self.lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def span(self, start: int, end: int) -> Span:
        first, last = bisect_right(self.lines, start) - 1, bisect_right(self.lines, end) - 1
        return Span(self.name, first + 1, start - self.lines[first] + 1, last + 1, end - self.lines[last] + 1)

    def skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def value(self, at: int) -> tuple[Node, int]:
        at = self.skip(at)
        letter = self.text[at]
        if letter == "{":
            return self.block(at)
        if letter == "[":
            return self.list(at)
        if letter == '"':
            value, end = _STRING.raw_decode(self.text, at)
            return Scalar(value, self.span(at, end), value, quoted=True, literal=True), end
        match = _WORD.match(self.text, at)
        assert match is not None
        return Scalar(json.loads(match[0]), self.span(at, match.end()), match[0], literal=True), match.end()

    def block(self, start: int) -> tuple[Node, int]:
        entries: dict[str, Entry] = {}
        at = self.skip(start + 1)
        while self.text[at] != "}":
            key, end = _STRING.raw_decode(self.text, at)
            key_span = self.span(at, end)
            value, at = self.value(self.skip(end) + 1)
            if key in entries:
                note = ("first written here", entries[key].key_span)
                self.found.add("duplicate-key", f"the key `{key}` is written twice", key_span, notes=[note])
            entries[key] = Entry(key, key_span, value)
            at = self.skip(at)
            if self.text[at] == ",":
                at = self.skip(at + 1)
        return Mapping(self.span(start, at + 1), entries), at + 1

    def list(self, start: int) -> tuple[Node, int]:
        items: list[Node] = []
        at = self.skip(start + 1)
        while self.text[at] != "]":
            item, at = self.value(at)
            items.append(item)
            at = self.skip(at)
            if self.text[at] == ",":
                at = self.skip(at + 1)
        return Sequence(items, self.span(start, at + 1)), at + 1


def _words(error: json.JSONDecodeError) -> str:
    return error.msg[:1].lower() + error.msg[1:]


def _advice(text: str, error: json.JSONDecodeError) -> str | None:
    before = text[: error.pos].rstrip()
    following = text[error.pos :].lstrip()
    if "delimiter" in error.msg and following[:1] in ('"', "{"):
        return "a comma is missing at the end of the entry before"
    if before.endswith(",") and following[:1] in ("}", "]"):
        return "the last entry has no comma after it"
    if following[:1] == "'":
        return 'JSON writes text in double quotes: "…"'
    if following[:2] in ("//", "/*") or following[:1] == "#":
        return "JSON has no comments"
    return None
