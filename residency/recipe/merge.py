"""Laying one tree over another: mappings merge, lists and scalars replace, null overrides.

`params:` merges by its own rule: a bare value over a declared parameter gives it that value
and keeps its description, type and choices.
"""

from __future__ import annotations

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Sequence, Span
from residency.recipe.suggest import did_you_mean
from residency.recipe.tokens import is_known

LONG_FORM = frozenset({"default", "description", "type", "choices"})
"""The keys of a parameter that is declared in the long form."""


def merge(base: Node, over: Node, *, keep_place: bool = False) -> Node:
    """`over` laid over `base`. Neither is changed; the result shares their parts.

    Args:
        base: The tree below.
        over: The tree above; its scalars, lists and nulls replace what is below.
        keep_place: True when a merged mapping counts as written where `base` has it (a profile
            over its recipe), False where `over` has it (a recipe over what it extends).
    """
    if not isinstance(base, Mapping) or not isinstance(over, Mapping):
        return over
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = entries.get(key)
        if below is None:
            entries[key] = entry
            continue
        value = merge(below.value, entry.value, keep_place=keep_place)
        both = isinstance(value, Mapping) and isinstance(below.value, Mapping)
        place = below.key_span if both and keep_place else entry.key_span
        entries[key] = Entry(key, place, value)
    below_or_above = base if keep_place else over
    return Mapping(below_or_above.span, entries, below_or_above.via)


def merge_documents(base: Mapping, over: Mapping) -> Mapping:
    """A recipe laid over what it extends; it may declare parameters of its own."""
    merged = merge(_without(base, "params"), _without(over, "params"))
    assert isinstance(merged, Mapping)
    below, above = base.entries.get("params"), over.entries.get("params")
    if below is None or above is None:
        entry = above or below
    elif isinstance(below.value, Mapping) and isinstance(above.value, Mapping):
        entries = dict(below.value.entries)
        for name, given in above.value.entries.items():
            under = entries.get(name)
            value = given.value if under is None else _declaration(under.value, given.value)
            entries[name] = Entry(name, given.key_span, value)
        entry = Entry("params", above.key_span, Mapping(above.value.span, entries))
    else:
        entry = above
    if entry is not None:
        merged.entries["params"] = entry
    return merged


def lay_over(base: Mapping, over: Mapping, found: Diagnostics, *, lenient: bool = False) -> Mapping:
    """An overlay (a profile, a pipeline's keys, `--set`) over a recipe; it sets parameters.

    Args:
        base: The recipe.
        over: The overlay.
        found: Takes parameters that the recipe does not declare.
        lenient: True when such parameters are passed over, as for a profile shared by all.
    """
    merged = merge(_without(base, "params"), _without(over, "params"), keep_place=True)
    assert isinstance(merged, Mapping)
    if "params" in base.entries:
        merged.entries["params"] = base.entries["params"]
    values = over.get("params")
    if isinstance(values, Mapping):
        for name, entry in values.entries.items():
            set_param(merged, name, entry.value, entry.key_span, found, lenient=lenient)
    elif values is not None and not (isinstance(values, Scalar) and values.value is None):
        found.add("wrong-type", "`params` must be a mapping of names to values", values)
    return merged


def set_param(
    tree: Mapping, name: str, value: Node, where: Span, found: Diagnostics, *, lenient: bool = False
) -> None:
    """Give a declared parameter a value, in place; its declaration stays."""
    entry = tree.entries.get("params")
    declared = entry.value if entry is not None and isinstance(entry.value, Mapping) else None
    if entry is None or declared is None or name not in declared.entries:
        if not lenient:
            names = list(declared.entries) if declared else []
            hint = did_you_mean(name, names)
            if hint is None and names:
                hint = "it declares " + ", ".join(f"`{n}`" for n in names)
            found.add(
                "unknown-param",
                f"the recipe declares no parameter `{name}`",
                where,
                hint=hint or "declare it under `params:`",
            )
        return
    old = declared.entries[name]
    long = long_form(old.value)
    if is_long(value):
        given = merge(long, value, keep_place=True)
    else:
        entries = dict(long.entries)
        before = long.get("default")
        inferred = type_of(before)
        if _is_null(value) and not _is_null(before) and ("type" in entries or inferred):
            found.add("wrong-type", f"the parameter `{name}` cannot be null", value.via or value.span)
            return
        if "type" not in entries and inferred is not None:
            # The type that the recipe's own default shows holds for every value.
            span = long.entries["default"].value.span
            entries["type"] = Entry("type", span, Scalar(inferred, span, inferred, literal=True))
        entries["default"] = Entry("default", where, value)
        given = Mapping(long.span, entries)
    params = Mapping(declared.span, {**declared.entries, name: Entry(name, old.key_span, given)})
    tree.entries["params"] = Entry("params", entry.key_span, params)


def is_long(node: Node) -> bool:
    """True for `{default: …, type: …}`, the long form of a parameter."""
    return isinstance(node, Mapping) and bool(node.entries) and LONG_FORM.issuperset(node.entries)


def long_form(node: Node) -> Mapping:
    """A parameter's declaration in the long form; a bare value is the default."""
    if is_long(node):
        assert isinstance(node, Mapping)
        return node
    return Mapping(node.span, {"default": Entry("default", node.span, node)})


def type_of(node: Node | None) -> str | None:
    """The type that a value shows, or None when it shows none (null, an interpolation, a token)."""
    if node is None or not is_known(node):
        return None
    if isinstance(node, Mapping):
        return "mapping"
    if isinstance(node, Sequence):
        return "list"
    value = node.value
    if value is None:
        return None
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"


def _is_null(node: Node | None) -> bool:
    return isinstance(node, Scalar) and node.value is None


def _declaration(below: Node, above: Node) -> Node:
    """A parameter declared again by a recipe that extends another."""
    if is_long(above):
        return merge(long_form(below), above)
    if is_long(below):
        entries = dict(long_form(below).entries)
        entries["default"] = Entry("default", above.span, above)
        return Mapping(above.span, entries)
    return above


def _without(tree: Mapping, key: str) -> Mapping:
    return Mapping(tree.span, {k: e for k, e in tree.entries.items() if k != key}, tree.via)
