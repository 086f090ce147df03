"""The checker accepts and refuses what the `jsonschema` library does."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from residency.recipe import kind_schema
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Span, from_plain
from residency.recipe.schema import validate
from residency.recipe.schema_keys import resolve

SPAN = Span("x", 1, 1, 1, 1)
WHOLES = {
    **{kind: kind_schema.load(kind) for kind in kind_schema.names()},
    **{name: kind_schema.engine(name) for name in ("llamafactory", "lm_eval", "verl")},
}


def numbers() -> st.SearchStrategy[Any]:
    # 1.0 is a whole number for JSON Schema and not for the engines: left out.
    fractions = st.floats(-3, 3, allow_nan=False).filter(lambda x: x != int(x))
    return st.integers(-2, 5) | st.integers() | fractions


def text() -> st.SearchStrategy[str]:
    return st.sampled_from(["", "a", "sft", "auto", "auto:4", "processors.a.b", "no", "0" * 64]) | st.text(
        "abcXYZ019_- ./", max_size=8
    )


def anything() -> st.SearchStrategy[Any]:
    leaf = st.none() | st.booleans() | numbers() | text()
    return st.recursive(
        leaf, lambda x: st.lists(x, max_size=3) | st.dictionaries(names(), x, max_size=3), max_leaves=6
    )


def names() -> st.SearchStrategy[str]:
    return st.text("abcd_1- ", min_size=1, max_size=6)


def values(schema: Any, root: dict[str, Any], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that mostly fit `schema`, with wrong ones strewn in."""
    if not isinstance(schema, dict) or depth > 4:
        return anything()
    schema = resolve(schema, root)
    found: list[st.SearchStrategy[Any]] = []
    if "enum" in schema:
        found.append(st.sampled_from(schema["enum"]))
    if "const" in schema:
        found.append(st.just(schema["const"]))
    for branch in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found.append(
            st.deferred(lambda b=branch: values({**schema, **b, "anyOf": [], "oneOf": []}, root, depth + 1))
        )
    for bound in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if bound in schema:
            near = [
                schema[bound],
                schema[bound] + 0.5,
                schema[bound] - 0.5,
                schema[bound] + 1,
                schema[bound] - 1,
            ]
            found.append(st.sampled_from([int(v) if v == int(v) else v for v in near]))
    if "items" in schema:
        found.append(st.lists(values(schema["items"], root, depth + 1), max_size=3))
    if "properties" in schema or isinstance(schema.get("additionalProperties"), dict):
        found.append(blocks(schema, root, depth))
    types = schema.get("type", ())
    for name in (types,) if isinstance(types, str) else types:
        simple = {
            "integer": st.integers(0, 10),
            "number": numbers(),
            "string": text(),
            "boolean": st.booleans(),
        }
        if name in simple:
            found.append(simple[name])
    return st.one_of(*found, *found, *found, anything()) if found else anything()


def blocks(schema: dict[str, Any], root: dict[str, Any], depth: int) -> st.SearchStrategy[Any]:
    properties = schema.get("properties", {})
    required = {key: values(properties.get(key), root, depth + 1) for key in schema.get("required", ())}

    @st.composite
    def build(draw: Any) -> dict[str, Any]:
        made = {key: draw(value) for key, value in required.items() if draw(st.integers(0, 9))}
        if properties:
            for key in draw(st.lists(st.sampled_from(sorted(properties)), max_size=3)):
                made[key] = draw(values(properties[key], root, depth + 1))
        if draw(st.integers(0, 4)) == 0 or not properties:
            made[draw(names())] = draw(values(schema.get("additionalProperties"), root, depth + 1))
        return made

    return build()


def plainly_keyed(value: Any) -> bool:
    """False where dotted keys, which JSON Schema does not know, occur."""
    if isinstance(value, dict):
        return all(not set(k) & set(".+~") and plainly_keyed(v) for k, v in value.items())
    return all(plainly_keyed(v) for v in value) if isinstance(value, list) else True


def subschemas(schema: Any, limit: int) -> list[Any]:
    """The schema and some of those inside it, evenly picked."""
    found: list[Any] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.append(node)
            for value in (
                *node.get("properties", {}).values(),
                node.get("additionalProperties"),
                node.get("items"),
            ):
                walk(value)

    walk(schema)
    return [schema, *found[1 :: max(1, len(found) // limit)]]


@pytest.mark.parametrize("name", sorted(WHOLES))
def test_agrees_with_jsonschema(name):
    root = WHOLES[name]
    assert root is not None
    parts = subschemas(root, 120)

    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.data())
    def run(data: Any) -> None:
        part = data.draw(st.sampled_from(parts))
        value = data.draw(values(part, root))
        if not plainly_keyed(value):
            return
        whole = {**part, "$defs": root.get("$defs", {})} if part is not root else root
        expected = jsonschema.Draft202012Validator(whole).is_valid(value)
        found = Diagnostics()
        validate(from_plain(value, SPAN), whole, found)
        assert found.ok is expected, (value, [d.message for d in found])

    run()


def test_schemas_are_valid_json_schema():
    for name, schema in WHOLES.items():
        assert schema is not None, name
        jsonschema.Draft202012Validator.check_schema(schema)
