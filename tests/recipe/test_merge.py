"""residency.recipe.merge"""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.merge import lay_over, merge, merge_documents
from residency.recipe.nodes import Mapping, Span, at, from_plain, plain
from residency.recipe.yaml_reader import read

HERE = Span("f", 1, 1, 1, 1)
keys = st.sampled_from(["a", "b", "c", "d"])
trees = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2),
    lambda inner: st.dictionaries(keys, inner, max_size=3),
    max_leaves=10,
)
mappings = st.dictionaries(keys, trees, max_size=4)


def node(value: Any) -> Mapping:
    made = from_plain(value, HERE)
    assert isinstance(made, Mapping)
    return made


def text(source: str, file: str) -> Mapping:
    found = Diagnostics()
    root = read(source.encode(), file, found)
    assert root is not None
    assert not found.items
    return root


def reference(base: Any, over: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {
        k: reference(base[k], over[k]) if k in base and k in over else over.get(k, base.get(k))
        for k in [*base, *over]
    }


@given(mappings, mappings)
def test_mappings_merge_and_all_else_replaces(base: Any, over: Any) -> None:
    below, above = node(base), node(over)
    assert plain(merge(below, above)) == reference(base, over)
    assert plain(below) == base
    assert plain(above) == over


@given(mappings, mappings, mappings)
def test_merging_is_associative(a: Any, b: Any, c: Any) -> None:
    left = merge(merge(node(a), node(b)), node(c))
    right = merge(node(a), merge(node(b), node(c)))
    # Where `b` is no mapping at a key, what stands below it is gone either way only on the left.
    if plain(merge(node(a), node(b))) == reference(a, b) and _no_gap(a, b, c):
        assert plain(left) == plain(right)


def _no_gap(a: Any, b: Any, c: Any) -> bool:
    if not (isinstance(a, dict) and isinstance(c, dict)):
        return True
    if not isinstance(b, dict):
        return False
    return all(_no_gap(a[k], b[k], c[k]) for k in a if k in b and k in c)


@given(mappings)
def test_nothing_and_itself_change_nothing(value: Any) -> None:
    assert plain(merge(node(value), node({}))) == value
    assert plain(merge(node({}), node(value))) == value
    assert plain(merge(node(value), node(value))) == value


def test_each_value_keeps_its_place() -> None:
    base, over = text("x: {a: 1, b: 2}\n", "base"), text("\nx: {b: 3}\n", "over")
    merged = merge(base, over)
    a, b = at(merged, ("x", "a")), at(merged, ("x", "b"))
    assert a is not None
    assert b is not None
    assert (a.span.file, b.span.file, b.span.line) == ("base", "over", 2)
    inner = at(merged, ("x",))
    kept = at(merge(base, over, keep_place=True), ("x",))
    assert inner is not None
    assert kept is not None
    assert (inner.span.file, kept.span.file) == ("over", "base")


def test_a_value_over_a_declaration_keeps_the_declaration() -> None:
    base = text("params: {model: {default: a, description: the model, choices: [a, b]}, n: 3}\n", "base")
    found = Diagnostics()
    merged = lay_over(base, text("params: {model: b, n: 4}\n", "over"), found)
    assert plain(merged)["params"] == {
        "model": {"default": "b", "description": "the model", "choices": ["a", "b"], "type": "string"},
        "n": {"default": 4, "type": "integer"},
    }
    assert plain(base)["params"]["n"] == 3
    assert not found.items


def test_an_overlay_declares_no_parameter() -> None:
    base, over = text("params: {model: a}\n", "base"), text("params: {modle: b}\n", "over")
    found = Diagnostics()
    lay_over(base, over, found)
    assert [(d.code, d.span.file, d.hint) for d in found] == [
        ("unknown-param", "over", "did you mean `model`?")
    ]
    lenient = Diagnostics()
    lay_over(base, over, lenient, lenient=True)
    assert not lenient.items


def test_a_recipe_declares_again_what_it_extends() -> None:
    base = text("params: {model: {default: a, description: d}, n: 3}\n", "base")
    merged = merge_documents(base, text("params: {model: b, n: {type: number}, new: 1}\n", "over"))
    assert plain(merged)["params"] == {
        "model": {"default": "b", "description": "d"},
        "n": {"default": 3, "type": "number"},
        "new": 1,
    }
