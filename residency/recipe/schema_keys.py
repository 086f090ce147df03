"""The keys of a block: where one is written, what an unknown one was meant to be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from residency.recipe.nodes import Span
from residency.recipe.suggest import closest

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the checker is: the key's dotted name, its span, and the blocks around it."""

    name: str
    key_span: Span | None = None
    blocks: tuple[tuple[str, Schema], ...] = ()
    """The blocks that hold this node, outermost first: (name, schema)."""
    dotted: bool = False

    def inside(self, key: str, key_span: Span, schema: Schema, dotted: bool) -> Place:
        """The place of `key`'s value, in the block of `schema` that stands here."""
        # A key of no width is not in the text: the block around a plain LLaMA-Factory YAML.
        hidden = key_span.line == key_span.end_line and key_span.column == key_span.end_column
        name = self.name if hidden else f"{self.name}.{key}" if self.name else key
        return Place(name, key_span, (*self.blocks, (self.name, schema)), dotted)

    def item(self, index: int) -> Place:
        """The place of a list's entry."""
        return Place(f"{self.name}[{index}]", None, self.blocks, self.dotted)

    @property
    def shown(self) -> str:
        """The name as a message gives it."""
        return self.name or "the recipe"

    @property
    def label(self) -> str:
        """The name as the subject of a sentence."""
        return f"`{self.name}`" if self.name else self.shown


def resolve(schema: Schema, root: Schema) -> Schema:
    """The schema with its `$ref` followed from the document's root; keys beside a `$ref` are kept."""
    while "$ref" in schema:
        reference = schema["$ref"]
        if not reference.startswith("#"):
            raise ValueError(f"{reference} does not lead into the same document")
        target: Any = root
        for part in reference.lstrip("#").strip("/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")] if part else target
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**target, **rest} if rest else target
    return schema


def meant(key: str, schema: Schema, place: Place, root: Schema) -> str | None:
    """The hint for an unknown key.

    In this order: a known old name, a key of a block just below, a key of a block around, a
    key spelt nearly so, and where there are few keys all of them.
    """
    renamed = schema.get("x-renamed", {}).get(key)
    if renamed:
        words: str = renamed if " " in renamed else f"it is called `{renamed}` now"
        return words
    properties: Schema = schema.get("properties", {})
    for below, inner in properties.items():
        inner = resolve(inner, root) if isinstance(inner, Mapping) else {}
        if key in inner.get("properties", {}):
            return f"it belongs one level down, under `{below}:`"
    for depth, (name, outer) in enumerate(reversed(place.blocks[:-1]), 1):
        if key in outer.get("properties", {}):
            levels = "one level up" if depth == 1 else f"{depth} levels up"
            return f"it belongs {levels}, " + (f"in `{name}`" if name else "at the top of the recipe")
    known = [name for name, below in properties.items() if below is not False]
    near = closest(key, known)
    if near:
        return f"did you mean `{near[0]}`?"
    if 0 < len(known) <= 12:
        return "known keys: " + ", ".join(known)
    return None


def part_span(span: Span, key: str, offset: int, length: int) -> Span:
    """The span of a part of a key; the whole key's where quotes or escapes shift the columns."""
    if span.line != span.end_line:
        return span
    extra = span.end_column - span.column - len(key)
    if extra not in (0, 2):
        return span
    start = span.column + extra // 2 + offset
    return Span(span.file, span.line, start, span.line, start + length)
