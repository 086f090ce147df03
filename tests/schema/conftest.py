"""A small reader of YAML with places, enough for these tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from residency.recipe import kind_schema, schema
from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Sequence, Span


def _span(node: yaml.Node, file: str) -> Span:
    start, end = node.start_mark, node.end_mark
    return Span(file, start.line + 1, start.column + 1, end.line + 1, end.column + 1)


def _scalar(node: yaml.ScalarNode) -> object:
    quoted = node.style is not None
    if quoted:
        return node.value
    if node.value in ("yes", "no", "on", "off"):
        return node.value
    try:
        return float(node.value) if "e" in node.value.lower() else yaml.safe_load(node.value)
    except ValueError:
        return yaml.safe_load(node.value)


def place(node: yaml.Node, file: str) -> Node:
    span = _span(node, file)
    if isinstance(node, yaml.MappingNode):
        entries = {k.value: Entry(k.value, _span(k, file), place(v, file)) for k, v in node.value}
        return Mapping(span, entries)
    if isinstance(node, yaml.SequenceNode):
        return Sequence([place(item, file) for item in node.value], span)
    assert isinstance(node, yaml.ScalarNode)
    return Scalar(_scalar(node), span, node.value, node.style is not None)


def read(text: str, file: str = "recipe.yaml") -> Node:
    return place(yaml.compose(text), file)


@pytest.fixture
def tree() -> Callable[[str], Node]:
    return read


@pytest.fixture
def check() -> Callable[..., list[Diagnostic]]:
    """The diagnostics of a recipe's text, in the order of the text."""

    def run(text: str, kind: str = "sft") -> list[Diagnostic]:
        found = Diagnostics()
        described = kind_schema.load(kind)
        assert described is not None
        schema.validate(read(text), described, found)
        return list(found)

    return run
