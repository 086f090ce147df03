"""A YAML document as a tree in which every key and value knows where it was written.

A value keeps its place through `extends`, profiles, `--set` and interpolation, so that a
mistake found later can point at the text that caused it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

Path = tuple[str | int, ...]
"""The keys and indexes that lead from a document's root to a node."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of text: lines and columns count from 1, `end_column` is exclusive."""

    file: str
    """The file as the user named it, or the command-line option (`--set a.b=c`)."""
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(slots=True)
class Scalar:
    """A string, number, boolean or null."""

    value: Any
    span: Span
    text: str = ""
    """The value as it was written, without quotes."""
    quoted: bool = False
    via: Span | None = None
    """Where an interpolation brought the value in, when it was written elsewhere."""
    literal: bool = False
    """True once resolved: `${` in it is text, not an interpolation."""


@dataclass(slots=True)
class Sequence:
    """A list."""

    items: list[Node]
    span: Span
    via: Span | None = None


@dataclass(slots=True)
class Entry:
    """One key of a mapping with its value."""

    key: str
    key_span: Span
    value: Node


@dataclass(slots=True)
class Mapping:
    """A mapping; its entries stand in the order in which they were written."""

    span: Span
    entries: dict[str, Entry] = field(default_factory=dict)
    via: Span | None = None

    def get(self, key: str) -> Node | None:
        """The value under `key`, or None."""
        entry = self.entries.get(key)
        return entry.value if entry else None


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> Any:
    """The node as ordinary Python values."""
    if isinstance(node, Mapping):
        return {key: plain(entry.value) for key, entry in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


def at(node: Node, path: Path) -> Node | None:
    """The node that `path` leads to, or None."""
    current: Node | None = node
    for step in path:
        if isinstance(current, Mapping) and isinstance(step, str):
            current = current.get(step)
        elif isinstance(current, Sequence) and isinstance(step, int):
            current = current.items[step] if -len(current.items) <= step < len(current.items) else None
        else:
            return None
    return current


def key_span(node: Node, path: Path) -> Span | None:
    """Where the last key of `path` is written; for an index, where the item is."""
    if not path:
        return node.span
    parent = at(node, path[:-1])
    last = path[-1]
    if isinstance(parent, Mapping) and isinstance(last, str):
        entry = parent.entries.get(last)
        return entry.key_span if entry else None
    found = at(node, path)
    return found.span if found else None


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, Node]]:
    """Every node with its path, parents first."""
    yield path, node
    if isinstance(node, Mapping):
        for key, entry in node.entries.items():
            yield from walk(entry.value, (*path, key))
    elif isinstance(node, Sequence):
        for index, item in enumerate(node.items):
            yield from walk(item, (*path, index))


def copy(node: Node) -> Node:
    """A copy that shares no mutable part with `node`."""
    if isinstance(node, Mapping):
        entries = {k: Entry(e.key, e.key_span, copy(e.value)) for k, e in node.entries.items()}
        return Mapping(node.span, entries, node.via)
    if isinstance(node, Sequence):
        return Sequence([copy(item) for item in node.items], node.span, node.via)
    return replace(node)


def from_plain(value: Any, span: Span, *, literal: bool = True) -> Node:
    """Python values as a tree whose every node stands at `span`."""
    if isinstance(value, dict):
        entries = {
            str(k): Entry(str(k), span, from_plain(v, span, literal=literal)) for k, v in value.items()
        }
        return Mapping(span, entries)
    if isinstance(value, list | tuple):
        return Sequence([from_plain(item, span, literal=literal) for item in value], span)
    return Scalar(value, span, text="" if value is None else str(value), literal=literal)
