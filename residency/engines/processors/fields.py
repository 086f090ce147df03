"""Fields that a `data` recipe names, held against those that its rows can have.

A processor says with `residency.processing.gives` which fields its rows can have. Where that is
known from the first processor to the last, `split.by: pmdi` is found before anything is read;
where one processor is silent, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from residency.engines.processors.spec import Dataset, Step, as_list, dataset, in_order
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted_probe import Answer
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Node, Scalar, Sequence, plain
from residency.recipe.suggest import closest
from residency.recipe.tokens import is_known
from residency.rows.formats import FORMATS, fields_of

Fields = set[str] | None
"""The fields that a row can have; None when nobody knows."""
_SPLIT = ("by", "stratify", "field")


def check(recipe: Recipe, answers: Mapping[str, Answer], found: Diagnostics) -> None:
    """Report each field that is named and cannot be there, code `column-missing`.

    Args:
        recipe: A `data` recipe.
        answers: Dotted path → what is known of it; those that are not trusted are absent.
        found: Takes the diagnostics.
    """
    tree = recipe.tree.get("datasets")
    if not isinstance(tree, Tree):
        return
    sources = recipe.tree.get("sources")
    given = set(sources.entries) if isinstance(sources, Tree) else set()
    made = [
        dataset(name, plain(item.value))
        for name, item in tree.entries.items()
        if isinstance(item.value, Tree)
    ]
    known: dict[str, Fields] = {}
    for item in in_order(made, given)[0]:
        node = tree.entries[item.name].value
        assert isinstance(node, Tree)
        fields = _check_dataset(
            item, node, {k: v for k, v in known.items() if k not in given}, answers, found
        )
        # A source of the same name is what `from:` means.
        known.update((file, fields) for file in item.files.values() if file not in given)


def _check_dataset(
    item: Dataset, node: Tree, known: Mapping[str, Fields], answers: Mapping[str, Answer], found: Diagnostics
) -> Fields:
    """Check one dataset; the fields of its rows as they are written."""
    fields = _union([known.get(name) for name in item.sources])
    for step, written in zip(item.steps, _steps(node.get("process")), strict=True):
        answer = answers.get(step.function) or {}
        for key, schema in (answer.get("values") or {}).items():
            given = written.get(key)
            if fields is not None and given is not None:
                _say(_named(given, schema), fields, found)
        fields = _after(step, answer.get("fields"), fields)
    if fields is not None and item.format in FORMATS:
        fields = fields_of(item.format, fields)
    split = node.get("split")
    if fields is not None and isinstance(split, Tree):
        for key in _SPLIT:
            if (named := split.get(key)) is not None:
                _say(_named(named, {"x-field": True}), fields, found)
    return fields


def _union(all_fields: list[Fields]) -> Fields:
    known = [fields for fields in all_fields if fields is not None]
    return set().union(*known) if known and len(known) == len(all_fields) else None


def _after(step: Step, gives: Mapping[str, Any] | None, before: Fields) -> Fields:
    """The fields that rows can have after a processor."""
    if not gives or (gives["keeps"] and before is None):
        return None
    fields = {*gives["names"], *((before or ()) if gives["keeps"] else ())}
    value = step.args.get(gives["argument"]) if gives["argument"] else None
    if isinstance(value, Mapping):
        fields |= {str(key) for key in value} | {v for v in value.values() if isinstance(v, str)}
    else:
        fields |= {name for name in as_list(value) if isinstance(name, str)}
    return fields


def _steps(node: Node | None) -> list[Tree]:
    """The arguments of each processor as they are written; an empty tree where there are none."""
    found = []
    for item in node.items if isinstance(node, Sequence) else as_list(node):
        if isinstance(item, Scalar) and isinstance(item.value, str):
            found.append(Tree(item.span))
        elif isinstance(item, Tree) and isinstance(plain(item).get("fn"), str):
            args = item.get("args")
            found.append(args if isinstance(args, Tree) else Tree(item.span))
    return found


def _named(node: Node, schema: Mapping[str, Any]) -> Iterator[Scalar]:
    """Every text in a value that its schema says is the name of a field."""
    branches = [branch for key in ("anyOf", "oneOf", "allOf") for branch in schema.get(key, ())]
    if branches:
        seen: dict[int, Scalar] = {}
        for branch in branches:
            seen.update((id(item), item) for item in _named(node, branch))
        yield from seen.values()
        return
    if isinstance(node, Scalar):
        if schema.get("x-field") and isinstance(node.value, str) and is_known(node):
            yield node
    elif isinstance(node, Tree):
        if (schema.get("propertyNames") or {}).get("x-field"):
            for key, entry in node.entries.items():
                yield Scalar(key, entry.key_span, key)
    else:
        for item in node.items:
            yield from _named(item, schema.get("items") or (schema if schema.get("x-field") else {}))


def _say(named: Iterator[Scalar], fields: set[str], found: Diagnostics) -> None:
    for node in named:
        name = str(node.value)
        if name in fields or name.split(".")[0] in fields:
            continue
        near = closest(name, fields)
        hint = f"did you mean `{near[0]}`?" if near else "the rows have " + ", ".join(sorted(fields))
        found.add("column-missing", f"the rows have no field `{name}`", node, hint=hint)
