"""The parser's events → a tree with places; aliases, merge keys, duplicate keys, tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from yaml import events as ev

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Sequence, Span, copy, walk
from residency.recipe.suggest import did_you_mean
from residency.recipe.tokens import reserved, unknown
from residency.recipe.yaml_scalars import resolve

MAX_NODES = 250_000
"""Values in one file, with all that aliases expand to."""
MAX_DEPTH = 64
"""Mappings and lists inside one another."""

_CORE = "tag:yaml.org,2002:"
_TEXT_TAGS = frozenset({"!", _CORE + "str"})
_COLLECTION_TAGS = frozenset({"!", _CORE + "map", _CORE + "seq"})
_SCALAR_TAGS = {
    _CORE + "int": (int,),
    _CORE + "float": (float, int),
    _CORE + "bool": (bool,),
    _CORE + "null": (type(None),),
}


class Stop(Exception):
    """Nothing further can be read; the reason has been reported."""


class Composer:
    """Builds one document's tree from events and reports what is wrong with it."""

    def __init__(
        self, span: Callable[[int, int, int, int], Span], found: Diagnostics, ends: list[int]
    ) -> None:
        """`span` places line, column, end line, end column (from 0); `ends`: lengths of the lines."""
        self._span = span
        self._found = found
        self._ends = ends
        self._anchors: dict[str, Node] = {}
        self._open: set[str] = set()
        self._sizes: dict[str, tuple[int, int]] = {}
        self._nodes = 0
        self._event: Any = None
        self._events: Iterator[Any] = iter(())
        self.quoted: tuple[int, int, int] | None = None
        """Line and column of the last opening quote, and the line of its closing one."""

    def document(self, events: Iterator[Any]) -> Node | None:
        """The first document's root, or None when there is none. Raises Stop and yaml.YAMLError."""
        self._events = events
        self._next()
        root: Node | None = None
        while not isinstance(self._event, ev.StreamEndEvent):
            start = self._next()
            mark = start.start_mark
            if not isinstance(start, ev.DocumentStartEvent):
                continue
            if root is not None:
                self._found.add(
                    "yaml-documents",
                    "a second document starts here; a recipe is one document",
                    self._span(mark.line, mark.column, mark.line, mark.column + 3),
                    hint="remove the `---`, or move what follows to a file of its own",
                )
                raise Stop
            root = self._node(0)
        if isinstance(root, Scalar) and root.text == "" and not root.quoted:
            return None
        return root

    def _next(self) -> Any:
        """Step to the next event and give back the one before."""
        event, self._event = self._event, next(self._events)
        if isinstance(self._event, ev.ScalarEvent) and self._event.style in ("'", '"'):
            self.quoted = self._quote(self._event)
        return event

    @staticmethod
    def _quote(event: Any) -> tuple[int, int, int]:
        return event.start_mark.line, event.start_mark.column, event.end_mark.line

    def _place(self, event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        line, column = end.line, end.column
        if column == 0 and line > start.line:
            # A block scalar ends at the start of the line behind it.
            line = min(line, len(self._ends)) - 1
            column = self._ends[line] if line < len(self._ends) else 0
        return self._span(start.line, start.column, line, column)

    def _count(self, nodes: int, height: int, where: Span) -> None:
        """Keep the bounds; raises Stop when one is passed."""
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            self._found.add(
                "yaml-too-many-values",
                f"the file holds more than {MAX_NODES:,} values, aliases expanded",
                where,
                hint="an alias that repeats aliases grows without bound; write less of it",
            )
            raise Stop
        if height > MAX_DEPTH:
            self._found.add("yaml-too-deep", f"values are nested deeper than {MAX_DEPTH} levels", where)
            raise Stop

    def _node(self, depth: int) -> Node:
        event = self._event
        if isinstance(event, ev.AliasEvent):
            self._next()
            return self._alias(event, depth)
        anchor = event.anchor
        if anchor is not None:
            self._open.add(anchor)
        before = self._nodes
        self._count(1, depth, self._place(event))
        node: Node
        if isinstance(event, ev.ScalarEvent):
            self._next()
            node = self._scalar(event)
        else:
            is_list = isinstance(event, ev.SequenceStartEvent)
            wrong = self._tag(event, self._place(event))
            node = self._sequence(depth) if is_list else self._mapping(depth)
            if wrong and depth:
                node = Scalar(unknown(event.tag), node.span)
        if anchor is not None:
            self._open.discard(anchor)
            self._anchors[anchor] = node
            height = max(len(path) for path, _ in walk(node))
            self._sizes[anchor] = (self._nodes - before, height)
        return node

    def _alias(self, event: Any, depth: int) -> Node:
        """A copy of what the alias names, used here."""
        where = self._place(event)
        name = event.anchor
        target = self._anchors.get(name)
        if name in self._open or target is None:
            inside = name in self._open
            self._found.add(
                "yaml-alias",
                f"`*{name}` stands inside what it repeats"
                if inside
                else f"no anchor `&{name}` stands before this alias",
                where,
                hint=None
                if inside
                else did_you_mean(name, self._anchors)
                or f'write `&{name}` at the value to repeat, or put text in quotes: "*{name}"',
            )
            return Scalar(unknown(f"*{name}"), where)
        size, height = self._sizes[name]
        self._count(size, depth + height, where)
        node = copy(target)
        for _, part in walk(node):
            part.via = where
        return node

    def _scalar(self, event: Any) -> Scalar:
        where = self._place(event)
        text: str = event.value
        is_plain = bool(event.implicit[0]) and not event.style
        self._reserved(text, where)
        tag = event.tag
        if tag is None or tag in _TEXT_TAGS:
            if is_plain and tag is None:
                return Scalar(resolve(text), where, text)
            return Scalar(text, where, text, quoted=True)
        value = resolve(text)
        if tag in _SCALAR_TAGS and type(value) in _SCALAR_TAGS[tag]:
            return Scalar(value, where, text)
        self._tag(event, where)
        return Scalar(unknown(text), where, text)

    def _tag(self, event: Any, where: Span) -> bool:
        """Report a tag, and say whether it was wrong. None constructs anything."""
        tag = event.tag
        if tag is None or tag in _COLLECTION_TAGS:
            return False
        written = "!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag
        if tag in _SCALAR_TAGS:
            message = f"`{getattr(event, 'value', 'this')}` is no {tag.removeprefix(_CORE)}"
        else:
            message = f"the tag `{written}` is not allowed: a recipe holds plain values alone"
        self._found.add(
            "yaml-tag",
            message,
            Span(where.file, where.line, where.column, where.line, where.column + len(written)),
            hint=f"remove `{written}`, or put text that starts with `!` in quotes",
        )
        return True

    def _reserved(self, text: str, where: Span) -> None:
        if reserved(text):
            self._found.add(
                "reserved-character",
                "the brackets ⟦ and ⟧ are kept for the launcher's own use",
                where,
                hint="use other brackets",
            )

    def _sequence(self, depth: int) -> Sequence:
        start = self._next()
        items = []
        while not isinstance(self._event, ev.SequenceEndEvent):
            items.append(self._node(depth + 1))
        return Sequence(items, self._around(start, self._next(), [i.via or i.span for i in items]))

    def _around(self, start: Any, end: Any, parts: list[Span]) -> Span:
        """From the start to the closing bracket, or to the end of the last part of a block."""
        if start.flow_style or not parts:
            return self._span(
                start.start_mark.line, start.start_mark.column, end.end_mark.line, end.end_mark.column
            )
        first = self._span(start.start_mark.line, start.start_mark.column, start.start_mark.line, 0)
        last = max((part.end_line, part.end_column) for part in parts)
        return Span(first.file, first.line, first.column, *last)

    def _mapping(self, depth: int) -> Mapping:
        start = self._next()
        entries: dict[str, Entry] = {}
        merges: list[Mapping] = []
        parts: list[Span] = []
        merged_at: Span | None = None
        while not isinstance(self._event, ev.MappingEndEvent):
            event = self._event
            key = self._node(depth + 1)
            key_span = key.via or key.span
            bare = isinstance(key, Scalar) and isinstance(event, ev.ScalarEvent) and not key.quoted
            value_event = self._event
            value = self._node(depth + 1)
            parts.append(value.via or value.span)
            if bare and isinstance(key, Scalar) and key.text == "<<":
                if merged_at is not None:
                    self._duplicate("<<", key_span, merged_at, "write `<<: [*a, *b]`")
                merged_at = merged_at or key_span
                merges.extend(self._merge(value))
                continue
            name = self._key(key, key_span, bare)
            if name is None:
                continue
            if bare and start.flow_style and self._glued(name, value_event):
                self._found.add(
                    "yaml-syntax",
                    "a space is missing after the colon",
                    key_span,
                    hint="write `" + name.replace(":", ": ", 1) + "`",
                )
                name, _, rest = name.partition(":")
                value = Scalar(resolve(rest), value.span, rest)
            if name in entries:
                self._duplicate(name, key_span, entries[name].key_span, "remove one of the two")
                continue
            entries[name] = Entry(name, key_span, value)
        span = self._around(start, self._next(), parts)
        inherited: dict[str, Entry] = {}
        for source in merges:
            for name, entry in source.entries.items():
                if name not in entries:
                    inherited.setdefault(name, entry)
        return Mapping(span, {**inherited, **entries})

    @staticmethod
    def _glued(name: str, value_event: Any) -> bool:
        """True for `{a:1}`, which YAML takes for the key `a:1` without a value."""
        empty = isinstance(value_event, ev.ScalarEvent) and not value_event.value and not value_event.style
        return empty and ":" in name and "://" not in name

    def _duplicate(self, name: str, where: Span, first: Span, hint: str) -> None:
        self._found.add(
            "duplicate-key",
            f"the key `{name}` is written twice",
            where,
            hint=hint,
            notes=[(f"first written here, on line {first.line}", first)],
        )

    def _key(self, key: Node, where: Span, bare: bool) -> str | None:
        """The key's text; numbers and words stay as they are written. None with a diagnostic."""
        if not isinstance(key, Scalar):
            braces = isinstance(key, Mapping)
            self._found.add(
                "bad-key",
                "a key must be text, not " + ("a mapping" if braces else "a list"),
                where,
                hint="text that starts with `{` or `[` must be in quotes",
            )
            return None
        if bare and key.value is None:
            self._found.add("bad-key", "a key is missing before the colon", where, hint="write a name")
            return None
        return key.text

    def _merge(self, value: Node) -> list[Mapping]:
        """The mappings that `<<` brings in."""
        parts = value.items if isinstance(value, Sequence) else [value]
        mappings = [part for part in parts if isinstance(part, Mapping)]
        for part in parts:
            if not isinstance(part, Mapping) and not (isinstance(part, Scalar) and part.value is None):
                self._found.add(
                    "bad-merge-key",
                    "`<<` takes a mapping or a list of mappings",
                    part.via or part.span,
                    hint="write `<<: *name`, where `&name` stands at a mapping",
                )
        return mappings
