"""Checks placed nodes against a JSON Schema and says what was meant.

The part of JSON Schema (draft 2020-12) that the project's schemas use: type, enum, const,
properties, required, additionalProperties, patternProperties, propertyNames, items, anyOf,
oneOf, allOf, if/then/else, the bounds of numbers, lengths, pattern, and `$ref` into the same
document. And the project's own:

- `x-sane-minimum`, `x-sane-maximum`: a value beyond them is allowed, with a warning.
- `x-dotted: true`: the tree below may be written with dotted keys (`actor.optim.lr: 1e-6`); a
  key after `+` or `++` may be one that the schema does not name, one after `~` is removed.
- `x-renamed`: {old name of a key: new name, or a sentence}, `x-meant`: {wrong value: right one},
  `x-pattern-means`: the pattern in words, all for better hints.
- `x-code`: the diagnostic's code for a value that is no choice or breaks the pattern.
- `examples`: the known values of an open set; one spelt nearly so is a warning.

Two deliberate differences from draft 2020-12: 1.0 is not a whole number (the engines take it
for a float and fail), and text that holds a token or an unresolved interpolation passes where
text (or, for an interpolation, anything) may stand.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Entry, Node, Scalar, Sequence, Span, plain
from residency.recipe.nodes import Mapping as Block
from residency.recipe.schema_keys import Place, Schema, meant, part_span, resolve
from residency.recipe.suggest import closest
from residency.recipe.values import fits, later, mismatch, nouns, show, type_of, unresolved

_NUMBERS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("minimum", operator.ge, "at least"),
    ("exclusiveMinimum", operator.gt, "more than"),
    ("maximum", operator.le, "at most"),
    ("exclusiveMaximum", operator.lt, "less than"),
)


def validate(
    node: Node, schema: Schema, found: Diagnostics, *, name: str = "", key_span: Span | None = None
) -> None:
    """Add to `found` every way in which `node` breaks `schema`; never stops at the first.

    Args:
        node: the tree.
        schema: a whole schema document; `$ref` starts at its root.
        found: takes the diagnostics.
        name: what the messages call the node, `llamafactory` for that block.
        key_span: where the node's own key is written; what it lacks is reported there.
    """
    _Checker(schema, found).check(node, schema, Place(name, key_span))


@dataclass(slots=True)
class _Checker:
    root: Schema
    found: Diagnostics
    patterns: dict[str, re.Pattern[str]] = field(default_factory=dict)

    def check(self, node: Node, schema: Any, place: Place) -> None:
        if schema is True or schema == {}:
            return
        if schema is False:
            self.found.add("unknown-key", f"`{place.shown}` is not allowed here", place.key_span or node)
            return
        schema = self.resolve(schema)
        if unresolved(node):
            return
        types = schema.get("type")
        if types is not None:
            wanted = (types,) if isinstance(types, str) else tuple(types)
            if not fits(node, wanted):
                if not (type_of(node) == "string" and later(node) and "string" in wanted):
                    message, hint = mismatch(place.shown, node, wanted)
                    self.found.add("wrong-type", message, self.spot(node, place), hint=hint)
                return
        self.check_choice(node, schema, place)
        if isinstance(node, Block):
            self.check_block(node, schema, place)
        elif isinstance(node, Sequence):
            self.check_list(node, schema, place)
        else:
            self.check_scalar(node, schema, place)
        for branch in schema.get("allOf", ()):
            self.check(node, branch, place)
        if "anyOf" in schema:
            self.check_branches(node, schema, "anyOf", place)
        if "oneOf" in schema:
            self.check_branches(node, schema, "oneOf", place)
        if "if" in schema:
            arm = "then" if self.holds(node, schema["if"], place) else "else"
            if arm in schema:
                self.check(node, schema[arm], place)

    def resolve(self, schema: Schema) -> Schema:
        return resolve(schema, self.root)

    def spot(self, node: Node, place: Place) -> Node | Span:
        """Where to point: at the value, or at its key when there is nothing to see."""
        if place.key_span is not None and (isinstance(node, Block) or type_of(node) == "null"):
            return place.key_span
        return node

    def holds(self, node: Node, schema: Any, place: Place) -> bool:
        trial = Diagnostics()
        _Checker(self.root, trial, self.patterns).check(node, schema, place)
        return trial.ok

    # Single values

    def check_choice(self, node: Node, schema: Schema, place: Place) -> None:
        options = schema["enum"] if "enum" in schema else [schema["const"]] if "const" in schema else None
        if options is None or (later(node) and any(isinstance(o, str) for o in options)):
            return
        value = plain(node)
        if any(_equal(value, option) for option in options):
            return
        message = f"`{place.shown}` cannot be {_quoted(value)}"
        code = schema.get("x-code", "not-a-choice")
        self.found.add(code, message, self.spot(node, place), hint=_choices(value, options, schema))

    def check_scalar(self, node: Scalar, schema: Schema, place: Place) -> None:
        value = node.value
        if isinstance(value, str):
            if not later(node):
                self.check_text(node, value, schema, place)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self.check_number(node, value, schema, place)

    def check_text(self, node: Scalar, value: str, schema: Schema, place: Place) -> None:
        if len(value) < schema.get("minLength", 0):
            self.found.add("empty-value", f"`{place.shown}` must not be empty", node)
        elif len(value) > schema.get("maxLength", len(value)):
            self.found.add(
                "too-long", f"`{place.shown}` has more than {schema['maxLength']} characters", node
            )
        elif "pattern" in schema and not self.pattern(schema["pattern"]).search(value):
            meant = schema.get("x-pattern-means")
            message = f"`{place.shown}` cannot be {_quoted(value)}"
            hint = meant or f"it must match {schema['pattern']}"
            self.found.add(schema.get("x-code", "wrong-form"), message, node, hint=hint)
        elif value not in schema.get("examples", (value,)) and (near := closest(value, schema["examples"])):
            # Known values of an open set: another may be right, a misspelt one is not.
            message = f"`{place.shown}: {show(value)}` is not one of the known values"
            hint = f"did you mean `{near[0]}`?"
            self.found.add("unusual-value", message, node, hint=hint, severity="warning")

    def check_number(self, node: Scalar, value: float, schema: Schema, place: Place) -> None:
        written = node.text or show(value)
        for keyword, holds, words in _NUMBERS:
            if keyword in schema and not holds(value, schema[keyword]):
                message = f"`{place.shown}` must be {words} {show(schema[keyword])}, not {written}"
                self.found.add("out-of-range", message, node, hint=_usual(schema))
                return
        low, high = schema.get("x-sane-minimum", value), schema.get("x-sane-maximum", value)
        if not low <= value <= high:
            message = f"`{place.shown}: {written}` is unusually {'low' if value < low else 'high'}"
            self.found.add("unusual-value", message, node, hint=_usual(schema), severity="warning")

    def check_list(self, node: Sequence, schema: Schema, place: Place) -> None:
        if len(node.items) < schema.get("minItems", 0):
            least = schema["minItems"]
            message = f"{place.label} " + ("is empty" if least == 1 else f"needs at least {least} entries")
            self.found.add("too-few", message, place.key_span or node)
        if len(node.items) > schema.get("maxItems", len(node.items)):
            self.found.add("too-many", f"`{place.shown}` takes at most {schema['maxItems']} entries", node)
        if "items" in schema:
            for index, item in enumerate(node.items):
                self.check(item, schema["items"], place.item(index))

    # Blocks

    def check_block(self, node: Block, schema: Schema, place: Place) -> None:
        dotted = place.dotted or bool(schema.get("x-dotted"))
        properties: Schema = schema.get("properties", {})
        if len(node.entries) < schema.get("minProperties", 0):
            self.found.add("too-few", f"{place.label} is empty", place.key_span or node)
        for key, entry in node.entries.items():
            inner = place.inside(key, entry.key_span, schema, dotted)
            if "propertyNames" in schema:
                self.check(Scalar(key, entry.key_span, key), schema["propertyNames"], inner)
            if key in properties:
                self.check(entry.value, properties[key], inner)
            elif dotted and ("." in key or key[:1] in "+~"):
                self.check_dotted(entry, schema, inner)
            else:
                self.check_other(entry, schema, inner)
        for key in schema.get("required", ()):
            if key not in node.entries and not self.misspelt((key,), node, properties):
                self.missing(key, node, place, properties.get(key))

    def misspelt(self, keys: Iterable[str], node: Node, properties: Schema) -> bool:
        """True when an unknown key, which is reported as such, was meant to be one of `keys`."""
        others = node.entries if isinstance(node, Block) else ()
        return any(
            closest(other, properties)[:1] == [key]
            for other in others
            if other not in properties
            for key in keys
        )

    def missing(self, key: str, node: Block, place: Place, schema: Any) -> None:
        where = place.key_span
        if where is None:
            first = next(iter(node.entries.values()), None)
            where = first.key_span if first else node.span
        name = f"{place.name}.{key}" if place.name else key
        about = schema.get("description") if isinstance(schema, Mapping) else None
        hint = f"add `{key}: …`" + (f" ({about})" if about else "")
        self.found.add("missing-key", f"`{name}` is missing", where, hint=hint)

    def check_other(self, entry: Entry, schema: Schema, place: Place) -> None:
        """A key that `properties` does not name."""
        matched = False
        for pattern, below in schema.get("patternProperties", {}).items():
            if self.pattern(pattern).search(entry.key):
                matched = True
                self.check(entry.value, below, place)
        if matched:
            return
        other = schema.get("additionalProperties", True)
        if other is False:
            hint = meant(entry.key, schema, place, self.root)
            outer = place.blocks[-1][0]
            where = f" in `{outer}`" if outer else ""
            message = f"unknown key `{entry.key}`{where}"
            self.found.add("unknown-key", message, entry.key_span, hint=hint)
        else:
            self.check(entry.value, other, place)

    def check_dotted(self, entry: Entry, schema: Schema, place: Place) -> None:
        """A key such as `actor.optim.lr`, `+ray_kwargs.ray_init.num_gpus` or `~trainer.logger`."""
        name = entry.key.lstrip("+~")
        prefix = entry.key[: len(entry.key) - len(name)]
        if prefix not in ("", "+", "++", "~") or not all(name.split(".")):
            message = f"`{entry.key}` is not a key: one dot between two names, and `+`, `++` or `~` before it"
            self.found.add("wrong-form", message, entry.key_span)
            return
        current: Any = schema
        blocks = list(place.blocks)
        offset = len(prefix)
        for depth, part in enumerate(name.split(".")):
            current = self.resolve(current) if isinstance(current, Mapping) else {}
            if current.get("properties") is None or part in current["properties"]:
                above = ".".join(name.split(".")[:depth])
                if above:
                    blocks.append((f"{blocks[-1][0]}.{part}", current))
                current = current.get("properties", {}).get(part, {})
            elif "+" in prefix or current.get("additionalProperties", True) is not False:
                return
            else:
                span = part_span(entry.key_span, entry.key, offset, len(part))
                hint = meant(part, current, Place(place.name, span, tuple(blocks), True), self.root)
                above = ".".join(name.split(".")[:depth])
                message = f"unknown key `{part}`" + (f" in `{above}`" if above else "")
                hint = hint or f"to add a key of your own write `+{name}`"
                self.found.add("unknown-key", message, span, hint=hint)
                return
            offset += len(part) + 1
        if prefix != "~":
            self.check(entry.value, current, place)

    # Alternatives

    def check_branches(self, node: Node, schema: Schema, keyword: str, place: Place) -> None:
        branches, exactly_one = schema[keyword], keyword == "oneOf"
        tried: list[tuple[Schema, Diagnostics]] = []
        good: list[Diagnostics] = []
        for branch in branches:
            trial = Diagnostics()
            _Checker(self.root, trial, self.patterns).check(node, branch, place)
            if trial.ok:
                good.append(trial)
                if not exactly_one:
                    break
            else:
                tried.append((self.resolve(branch) if isinstance(branch, Mapping) else {}, trial))
        if len(good) == 1 or (good and not exactly_one):
            self.found.extend(good[0])
            return
        if good:
            keys = self.required_only(b for b in branches if isinstance(b, Mapping))
            message = f"{place.label} fits more than one form"
            if keys:
                message = f"{place.label} takes only one of " + ", ".join(f"`{k}`" for k in keys)
            self.found.add("ambiguous", message, place.key_span or node)
            return
        self.explain(node, tried, place, schema)

    def explain(
        self, node: Node, tried: list[tuple[Schema, Diagnostics]], place: Place, parent: Schema
    ) -> None:
        """Say why no branch fits: by the branch that came closest."""
        keys = self.required_only(schema for schema, _ in tried)
        if keys and self.misspelt(keys, node, parent.get("properties", {})):
            return
        if keys:
            message = f"{place.label} needs one of " + ", ".join(f"`{k}`" for k in keys)
            first = next(iter(node.entries.values()), None) if isinstance(node, Block) else None
            self.found.add("missing-key", message, place.key_span or (first.key_span if first else node))
            return
        of_type = [(s, t) for s, t in tried if _type_fits(node, s)]
        if not of_type:
            types = tuple(dict.fromkeys(t for schema, _ in tried for t in _types(schema)))
            message, hint = mismatch(place.shown, node, types)
            self.found.add("wrong-type", message, self.spot(node, place), hint=hint)
            return
        if isinstance(node, Scalar) and all("enum" in schema for schema, _ in of_type):
            options = [option for schema, _ in of_type for option in schema["enum"]]
            others = [t for schema, _ in tried if "enum" not in schema for t in _types(schema) if t != "null"]
            message = f"`{place.shown}` cannot be {_quoted(node.value)}"
            hint = _choices(node.value, options, parent) + (f"; or {nouns(tuple(others))}" if others else "")
            self.found.add(parent.get("x-code", "not-a-choice"), message, node, hint=hint)
            return
        self.found.extend(min(of_type, key=lambda pair: len(pair[1].items))[1])

    def required_only(self, branches: Iterable[Schema]) -> list[str]:
        """The keys, when every branch is nothing but one required key."""
        keys = []
        for branch in branches:
            if set(branch) != {"required"} or len(branch["required"]) != 1:
                return []
            keys.append(branch["required"][0])
        return keys

    def pattern(self, text: str) -> re.Pattern[str]:
        if text not in self.patterns:
            self.patterns[text] = re.compile(text)
        return self.patterns[text]


def _types(schema: Schema) -> tuple[str, ...]:
    types = schema.get("type")
    if isinstance(types, str):
        return (types,)
    if types:
        return tuple(types)
    names = {type_of(Scalar(o, _NOWHERE)) for o in schema.get("enum", ())}
    return tuple(sorted(names)) or tuple(
        t for t in ("object",) if "properties" in schema or "required" in schema
    )


def _type_fits(node: Node, schema: Schema) -> bool:
    types = _types(schema)
    return not types or fits(node, types)


def _equal(a: Any, b: Any) -> bool:
    """JSON's equality: true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def _quoted(value: Any) -> str:
    return f"`{show(value)}`" if not isinstance(value, dict | list) else "this"


def _choices(value: Any, options: list[Any], *schemas: Schema) -> str:
    """What the value was meant to be, or what there is to choose from."""
    for schema in schemas:
        if isinstance(value, str) and value.lower() in schema.get("x-meant", {}):
            return f"did you mean `{schema['x-meant'][value.lower()]}`?"
    words = [show(option) for option in options if option is not None]
    near = closest(show(value), words) if not isinstance(value, dict | list) else []
    if near:
        return f"did you mean `{near[0]}`?"
    if len(words) == 1:
        return f"it must be `{words[0]}`"
    listed = ", ".join(words[:12])
    return f"choose from {listed}" + (f" and {len(words) - 12} more" if len(words) > 12 else "")


def _usual(schema: Schema) -> str | None:
    for words, prefix in (("usual values lie", "x-sane-"), ("allowed values lie", "")):
        if prefix and not {"x-sane-minimum", "x-sane-maximum"} & set(schema):
            continue
        low, high = (_bound(schema, prefix, side) for side in ("minimum", "maximum"))
        if low is not None and high is not None:
            return f"{words} between {show(low)} and {show(high)}"
    return None


def _bound(schema: Schema, prefix: str, side: str) -> Any:
    for name in (f"{prefix}{side}", side, f"exclusive{side.capitalize()}"):
        if name in schema:
            return schema[name]
    return None


_NOWHERE = Span("", 1, 1, 1, 1)
