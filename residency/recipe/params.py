"""`params:`: what a caller may set, its type, its choices, and the values given."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.merge import LONG_FORM, is_long, long_form, type_of
from residency.recipe.model import Param
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Sequence, Span, from_plain, plain
from residency.recipe.suggest import closest, did_you_mean
from residency.recipe.tokens import is_known

TYPES = ("string", "integer", "number", "boolean", "list", "mapping", "any")
_OTHER_NAMES = {
    "str": "string",
    "text": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "array": "list",
    "dict": "mapping",
    "object": "mapping",
    "map": "mapping",
}
_NOUNS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "mapping": "a mapping",
}


@dataclass(slots=True)
class Declared:
    """The parameters of one recipe, before anything is resolved."""

    values: Mapping
    """Name → value, for `${params.NAME}`; without those that have none."""
    params: dict[str, Param] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)
    """Parameters that a caller must give and none gave; reported."""
    nullable: set[str] = field(default_factory=set)
    """Parameters that may be null, since their default is."""


def declare(tree: Mapping, found: Diagnostics, asked_at: Span | None = None) -> Declared:
    """Read `params:` of a recipe whose overlays have been laid over it.

    Args:
        tree: The recipe.
        found: Takes declarations that are wrong and values that are missing.
        asked_at: Where a pipeline names the recipe; a value that is missing is reported there.
    """
    entry = tree.entries.get("params")
    node = entry.value if entry else None
    declared = Declared(Mapping(node.span if node else tree.span))
    if node is None or (isinstance(node, Scalar) and node.value is None):
        return declared
    if not isinstance(node, Mapping):
        found.add(
            "wrong-type",
            "`params` must be a mapping of names to defaults",
            node,
            hint="write `params: {model: some/model}`",
        )
        return declared
    for name, item in node.entries.items():
        _unfinished(name, item, found)
        _declare_one(name, item, declared, found, asked_at)
    return declared


def check(declared: Declared, resolved: Mapping, found: Diagnostics) -> dict[str, Any]:
    """Check the resolved values against types and choices.

    Args:
        declared: What `declare` gave; each `Param.default` becomes the resolved value.
        resolved: Name → resolved value.
        found: Takes values that do not fit.

    Returns:
        Name → value, as ordinary Python values.
    """
    values: dict[str, Any] = {}
    for name, param in declared.params.items():
        node = resolved.get(name)
        if node is None:
            continue
        declared.params[name] = replace(param, default=node)
        values[name] = plain(node)
        if is_known(node):
            _check_one(param, node, name in declared.nullable, found)
    return values


def _unfinished(name: str, item: Entry, found: Diagnostics) -> None:
    """Report a long form with a key that it does not have: `defualt:`."""
    node = item.value
    if not isinstance(node, Mapping) or is_long(node) or not node.entries:
        return
    misspelt = all(key in LONG_FORM or closest(key, LONG_FORM) for key in node.entries)
    if not misspelt and not LONG_FORM.intersection(node.entries):
        return  # A parameter whose value is a mapping.
    for key, entry in node.entries.items():
        if key not in LONG_FORM:
            found.add(
                "unknown-key",
                f"`{key}` is no part of a parameter's declaration",
                entry.key_span,
                hint=did_you_mean(key, LONG_FORM) or "it has default, description, type and choices",
            )
    # Without a default it is still a declaration, not a value.
    kept = {k: e for k, e in node.entries.items() if k in LONG_FORM}
    item.value = Mapping(node.span, kept or {"type": Entry("type", node.span, from_plain("any", node.span))})


def _declare_one(
    name: str, item: Entry, declared: Declared, found: Diagnostics, asked_at: Span | None
) -> None:
    long = long_form(item.value)
    value = long.get("default")
    kind = _type(long, value, found)
    description = long.get("description")
    text = description.value if isinstance(description, Scalar) else None
    param = Param(
        name=name,
        type=kind,
        default=value,
        description=text if isinstance(text, str) else "",
        choices=_choices(long, found),
        span=item.key_span,
    )
    declared.params[name] = param
    if value is None:
        declared.missing.add(name)
        by_set = f"give it with --set params.{name}=VALUE, in a pipeline by `with: {{{name}: …}}`, "
        found.add(
            "missing-param",
            f"the parameter `{name}` has no value",
            asked_at or item.key_span,
            hint=f"add `with: {{{name}: …}}` to the stage"
            if asked_at
            else by_set + "or write a default here",
            notes=[("declared here", item.key_span)] if asked_at else [],
        )
        return
    if isinstance(value, Scalar) and value.value is None:
        declared.nullable.add(name)
    if kind == "string" and _from_command_line(value) and isinstance(value, Scalar) and not value.quoted:
        # A shell takes quotes away, so that text which looks like a number comes without any.
        value = replace(value, value=value.text)
    declared.values.entries[name] = Entry(name, item.key_span, value)


def _from_command_line(node: Node) -> bool:
    return isinstance(node, Scalar) and node.span.file.startswith("--set ") and node.value is not None


def _type(long: Mapping, value: Node | None, found: Diagnostics) -> str:
    given = long.get("type")
    if given is None:
        return type_of(value) or "any"
    name = given.value if isinstance(given, Scalar) else None
    if isinstance(name, str) and name in TYPES:
        return name
    hint = "types are " + ", ".join(TYPES)
    if isinstance(name, str):
        meant = _OTHER_NAMES.get(name.lower()) or next(iter(closest(name, TYPES)), None)
        hint = f"did you mean `{meant}`?" if meant else hint
    found.add("not-a-choice", f"`{plain(given)}` is no type of a parameter", given, hint=hint)
    return "any"


def _choices(long: Mapping, found: Diagnostics) -> tuple[Any, ...]:
    node = long.get("choices")
    if node is None:
        return ()
    if isinstance(node, Sequence) and node.items:
        return tuple(plain(item) for item in node.items)
    found.add("wrong-type", "`choices` must be a list of values", node)
    return ()


def _check_one(param: Param, node: Node, nullable: bool, found: Diagnostics) -> None:
    actual = type_of(node)
    if actual is None:
        if param.type != "any" and not nullable:
            found.add(
                "wrong-type", f"the parameter `{param.name}` takes {_NOUNS[param.type]}, not null", node
            )
        return
    if param.type not in ("any", actual) and not (param.type == "number" and actual == "integer"):
        found.add(
            "wrong-type",
            f"the parameter `{param.name}` takes {_NOUNS[param.type]}, not {_NOUNS[actual]}",
            node,
            hint=_type_hint(param, node, actual),
            notes=[("declared here", param.span)] if param.span != node.span else [],
        )
        return
    value = plain(node)
    if param.choices and not any(_same(value, choice) for choice in param.choices):
        words = [str(choice) for choice in param.choices]
        found.add(
            "not-a-choice",
            f"the parameter `{param.name}` cannot be `{value}`",
            node,
            hint=did_you_mean(str(value), words) or "it is one of " + ", ".join(f"`{w}`" for w in words),
            notes=[("declared here", param.span)],
        )


def _type_hint(param: Param, node: Node, actual: str) -> str | None:
    if param.type == "integer" and actual == "number":
        return "write `type: number` where it is declared, to allow fractions"
    if param.type == "string" and isinstance(node, Scalar):
        return f'put it in quotes: "{node.text or node.value}"'
    if param.type == "boolean":
        return "write true or false"
    return None


def _same(a: Any, b: Any) -> bool:
    """Equal, and not merely `1 == True`."""
    return a == b and isinstance(a, bool) == isinstance(b, bool)
