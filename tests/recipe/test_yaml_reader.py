"""residency.recipe.yaml_reader, yaml_compose, yaml_errors"""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.recipe import yaml_reader
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping, Scalar, Sequence, Span, at, key_span, plain, walk
from residency.recipe.yaml_reader import MAX_BYTES, read, read_text


def tree(text: str | bytes) -> tuple[Any, list[tuple[int, int, str]]]:
    found = Diagnostics()
    data = text if isinstance(text, bytes) else text.encode()
    root = read(data, "f.yaml", found)
    return root and plain(root), [(d.span.line, d.span.column, d.code) for d in found]


def one(text: str | bytes) -> Any:
    """The only diagnostic."""
    found = Diagnostics()
    read(text if isinstance(text, bytes) else text.encode(), "f.yaml", found)
    assert len(found.items) == 1, found.items
    return found.items[0]


@pytest.fixture(params=["C", "Python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both of PyYAML's parsers: libyaml is not on every machine."""
    if request.param == "Python":
        monkeypatch.setattr(yaml_reader, "_LOADER", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML has no libyaml here")
    return str(request.param)


def test_values_and_places() -> None:
    found = Diagnostics()
    root = read("a: é \"q\"  # c\nb:\n  - 1\n  - {x: 'y'}\n日本: 語\n".encode(), "f.yaml", found)
    assert root is not None
    assert plain(root) == {"a": 'é "q"', "b": [1, {"x": "y"}], "日本": "語"}
    node = at(root, ("b", 1, "x"))
    assert isinstance(node, Scalar)
    assert node.quoted
    assert node.span == Span("f.yaml", 4, 9, 4, 12)
    assert key_span(root, ("b", 1, "x")) == Span("f.yaml", 4, 6, 4, 7)
    assert key_span(root, ("日本",)) == Span("f.yaml", 5, 1, 5, 3)
    assert root.span == Span("f.yaml", 1, 1, 5, 6)
    assert found.items == []


def test_block_scalar_ends_on_its_last_line() -> None:
    found = Diagnostics()
    root = read(b"a: |\n  x\n  yy\nb: 1\n", "f", found)
    assert root is not None
    assert root.entries["a"].value.span == Span("f", 1, 4, 3, 5)


def test_a_byte_order_mark_is_no_text() -> None:
    assert tree(b"\xef\xbb\xbfa: 1\n") == ({"a": 1}, [])


SYNTAX = [
    ("a: 'x\nb: 1\n", 1, 4, "never closed"),
    ("a: [1, 2\nb: 3\n", 1, 4, "`[` is never closed"),
    ("a: {x: 1\nb: 2\n", 1, 4, "`{` is never closed"),
    ('a: "x\nb: "y"\n', 1, 4, "not closed on its line"),
    ("a: 'don't'\n", 1, 9, "follows the closing quote"),
    ("a: 1\nb:2\n", 2, 1, "space is missing"),
    ("a:1\nb: 2\n", 1, 1, "space is missing"),
    ("a: {b:1}\n", 1, 5, "space is missing"),
    ("a: 1\nb 2\nc: 3\n", 2, 1, "colon is missing"),
    ("a: 1\n  b: 2\n", 2, 3, "indented deeper"),
    ("a:\n    b: 1\n  c: 2\n", 3, 3, "fits no block"),
    ("a: 50%\nb: %x\n", 2, 4, "cannot start with `%`"),
    ("a: @x\n", 1, 4, "cannot start with `@`"),
    ("a: `x`\n", 1, 4, "backtick"),
    ("a: b: c\n", 1, 5, "must be in quotes"),
    ("a: [${x}]\n", 1, 5, "interpolation inside [ ]"),
    ("a: 1\n- b\n", 2, 1, "list item"),
    ("- a\nb: 1\n", 2, 1, "no item"),
    ("a: }\n", 1, 4, "closes nothing"),
    ("a: [1, 2]]\n", 1, 10, "closes nothing"),
    ("a: - b\n", 1, 4, "list cannot start"),
    ("a: >0.5\n", 1, 4, "next line"),
    ('a: "\\q"\n', 1, 5, "no escape"),
    ("a: *\n", 1, 4, "needs a name"),
    ("<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> x\n", 1, 1, "merge conflict"),
    ("a: \x01\n", 1, 4, "U+0001"),
    ("a: [1 2\n 3]\nb: ]\n", 3, 4, "closes nothing"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), SYNTAX)
def test_syntax_errors_are_explained(parser: str, text: str, line: int, column: int, message: str) -> None:
    item = one(text)
    assert (item.code, item.span.line, item.span.column) == ("yaml-syntax", line, column), item
    assert message in item.message


def test_a_hint_shows_what_to_write() -> None:
    assert one("lr:1e-4\na: 1\n").hint == "write `lr: 1e-4`"
    assert one("a: @x/y\n").hint == 'put it in quotes: "@x/y"'
    assert one("a: b: c\n").hint == 'write "b: c"'
    assert one("a: 1\nlora_rank 8\nb: 1\n").hint == "write `lora_rank: 8`"


def test_tabs_are_named_where_they_are(parser: str) -> None:
    value, found = tree("a:\n\tb: 1\n\tc: 2\n")
    assert found == [(2, 1, "yaml-tab"), (3, 1, "yaml-tab")]
    assert value == {"a": {"b": 1, "c": 2}}


def test_a_missing_space_is_mended_and_places_stay_true() -> None:
    found = Diagnostics()
    root = read(b"a: 1\nkey:value\nb: 2\n", "f", found)
    assert root is not None
    assert plain(root) == {"a": 1, "key": "value", "b": 2}
    assert root.entries["key"].value.span == Span("f", 2, 5, 2, 10)


def test_all_mistakes_at_once() -> None:
    _, found = tree("a: 1\na: 2\nc:4\nd: @x\ne: !t 1\nf: *g\nf: 1\nh: `y`\n")
    assert found == [
        (2, 1, "duplicate-key"),
        (3, 1, "yaml-syntax"),
        (4, 4, "yaml-syntax"),
        (5, 4, "yaml-tag"),
        (6, 4, "yaml-alias"),
        (7, 1, "duplicate-key"),
        (8, 4, "yaml-syntax"),
    ]


def test_duplicate_keys_name_both_places() -> None:
    found = Diagnostics()
    root = read(b"a: 1\nb: {x: 1, x: 2}\na: 3\n", "f", found)
    assert [(d.span.line, d.span.column, d.notes[0][1].line) for d in found] == [(2, 11, 2), (3, 1, 1)]
    assert root is not None
    assert plain(root) == {"a": 1, "b": {"x": 1}}


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!foo", "!!timestamp", "!!int", "!<x>"])
def test_no_tag_makes_an_object(tag: str) -> None:
    value, found = tree(f"a: {tag} ls\nb: {tag} [1]\nc: {tag} {{}}\n")
    assert [code for _, _, code in found] == ["yaml-tag"] * 3
    assert all(isinstance(part, str) and "${" in part for part in value.values())


def test_core_tags_are_allowed() -> None:
    value, found = tree("a: !!str 1\nb: !!int 3\nc: !!float 1e3\nd: !!map {x: 1}\ne: !!seq [1]\nf: ! 12\n")
    assert value == {"a": "1", "b": 3, "c": 1000.0, "d": {"x": 1}, "e": [1], "f": "12"}
    assert found == []


def test_undefined_tag_handle() -> None:
    assert one("a: !h!x 1\n").code == "yaml-tag"


def test_aliases_and_merge_keys() -> None:
    text = """
base: &base {x: 1, y: 2}
more: &more {y: 3, z: 4}
one: {<<: *base, x: 9}
two:
  <<: [*more, *base]
  w: 0
"""
    value, found = tree(text)
    assert value["one"] == {"y": 2, "x": 9}
    assert value["two"] == {"y": 3, "z": 4, "x": 1, "w": 0}
    assert found == []
    assert value == yaml.safe_load(text)


def test_an_alias_keeps_the_place_of_its_anchor() -> None:
    root = read(b"a: &x {k: 1}\nb: *x\nc: {<<: *x}\n", "f", Diagnostics())
    assert root is not None
    for path in (("b", "k"), ("c", "k")):
        node = at(root, path)
        assert node is not None
        assert node.span.line == 1
        assert node.via is not None
        assert node.via.line == (2 if path[0] == "b" else 3)
    b, a = at(root, ("b",)), at(root, ("a",))
    assert b is not a


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "yaml-empty"),
        ("# only\n", "yaml-empty"),
        ("---\n...\n", "yaml-empty"),
        ("- a\n", "yaml-not-mapping"),
        ("word\n", "yaml-not-mapping"),
        ("3\n", "yaml-not-mapping"),
        ("a: 1\n---\nb: 2\n", "yaml-documents"),
        ("? [a]\n: 1\n", "bad-key"),
        ("a: {{x}}\n", "bad-key"),
        ("? \n: 1\n", "bad-key"),
        ("~: 1\n", "bad-key"),
        ("<<: 3\n", "bad-merge-key"),
        ("a: *x\n", "yaml-alias"),
        ("a: &x [*x]\n", "yaml-alias"),
        ("a: ⟦x\n", "reserved-character"),
        ("x⟧: 1\n", "reserved-character"),
        ("a: 1".encode("utf-16"), "yaml-encoding"),
        (b"a: 1\nb: \xe9\n", "yaml-encoding"),
        (b"a: " + b"x" * MAX_BYTES, "yaml-too-large"),
        (b"a: " + b"[" * 100_000, "yaml-too-deep"),
        ("a:\n" + "".join("  " * i + "a:\n" for i in range(1, 90)), "yaml-too-deep"),
    ],
)
def test_what_is_no_recipe(parser: str, text: str | bytes, code: str) -> None:
    assert one(text).code == code


def test_a_wrong_byte_is_placed() -> None:
    item = one("a: 1\nb: é".encode() + b"\xff\n")
    assert item.message == "the file is not UTF-8: byte 10 is 0xff"
    assert (item.span.line, item.span.column) == (2, 5)


def test_numbers_and_words_as_keys_are_text() -> None:
    assert tree("1: a\n1.50: b\ntrue: c\non: d\n'5': e\n") == (
        {"1": "a", "1.50": "b", "true": "c", "on": "d", "5": "e"},
        [],
    )


def test_an_alias_bomb_is_stopped_at_once(parser: str) -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    started = time.perf_counter()
    item = one("\n".join(lines))
    assert item.code == "yaml-too-many-values"
    assert time.perf_counter() - started < 5


def test_read_text_counts_what_stands_before() -> None:
    found = Diagnostics()
    node = read_text("[1, x]", "--set a=[1, x]", found, column=8)
    assert isinstance(node, Sequence)
    assert node.items[1].span == Span("--set a=[1, x]", 1, 13, 1, 14)


plain_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8", exclude_characters="⟦⟧"), max_size=20),
)
values = st.recursive(
    plain_scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="ascii", min_codepoint=97, max_codepoint=122), min_size=1),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


class Dumper(yaml.SafeDumper):
    """Writes strings in quotes, since YAML 1.1 leaves some bare that 1.2 reads as numbers."""


Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)


@given(st.dictionaries(st.text(min_size=1, alphabet="abcxyz_"), values, max_size=5), st.booleans())
@settings(deadline=None)
def test_what_is_written_is_read_back(value: dict[str, Any], flow: bool) -> None:
    text = yaml.dump(value, Dumper=Dumper, allow_unicode=True, default_flow_style=flow, sort_keys=False)
    text = text.replace(": !!float ", ": ")
    found = Diagnostics()
    root = read(text.encode(), "f", found)
    if not value:
        return
    assert found.items == []
    assert root is not None
    assert plain(root) == value
    lines = text.splitlines()
    for _, node in walk(root):
        if isinstance(node, Mapping):
            for entry in node.entries.values():
                span = entry.key_span
                assert lines[span.line - 1][span.column - 1 : span.end_column - 1].strip('"? ') == entry.key
        if (
            isinstance(node, Scalar)
            and isinstance(node.value, int | float)
            and not isinstance(node.value, bool)
        ):
            span = node.span
            assert lines[span.line - 1][span.column - 1 : span.end_column - 1] == node.text


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_bytes_make_it_fail(data: bytes) -> None:
    found = Diagnostics()
    root = read(data, "f", found)
    assert root is not None or found.items


@given(st.text(st.sampled_from(list("ab: \n-[]{}'\"#&*!|>%@`,?\t<$\\0\r\x85")), max_size=60))
@settings(deadline=None, max_examples=400)
def test_no_text_makes_it_fail(text: str) -> None:
    found = Diagnostics()
    root = read(text.encode(), "f", found)
    assert root is not None or found.items
    lines = max(1, len(text.splitlines()))
    for item in found:
        assert 1 <= item.span.line <= lines + 1
        assert item.span.column >= 1


def test_one_thousand_lines_are_read_fast() -> None:
    text = "".join(f"k{i}:\n  a: 1e-4\n  b: [1, 2]\n  c: some words\n" for i in range(250))
    started = time.perf_counter()
    value, found = tree(text)
    assert len(value) == 250
    assert not found
    assert time.perf_counter() - started < 1.0
