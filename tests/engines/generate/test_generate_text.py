"""Templates, prompts of rows, answers in JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.engines.generate import template
from residency.engines.generate.parse import NotJson, check_schema, parse
from residency.engines.generate.prompt import NoPrompt, messages
from residency.engines.generate.spec import Sampling

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def test_templates() -> None:
    row = {"a": "x", "b": {"c": [1, {"d": "½"}]}, "b.e": "dotted", "n": None}
    assert template.fill("{a}: {b.c.1.d} {b.e} {{a}} {b.c.0}", row) == "x: ½ dotted {a} 1"
    assert template.fill("{b.c}", row) == '[1, {"d": "½"}]'
    assert template.columns("{a} {b.c} {a} {{no}}") == ["a", "b.c"]
    for text, said in (("{z}", "it has no `z`"), ("{b.x}", "it has no `b.x`"), ("{n}", "its `n` is null")):
        with pytest.raises(template.Absent, match=said):
            template.fill(text, row)
    for broken in ("{", "a}", "{}", "{a b}", "{a..b}", "{{a}"):
        with pytest.raises(ValueError, match="twice"):
            template.check(broken)


@given(st.text(max_size=30), st.dictionaries(st.sampled_from(("a", "b")), json_values))
def test_any_template(text: str, row: dict[str, Any]) -> None:
    try:
        template.check(text)
    except ValueError:
        return
    try:
        filled = template.fill(text, row)
    except template.Absent:
        return
    assert isinstance(filled, str)
    if not template.columns(text):
        assert filled == text.replace("{{", "{").replace("}}", "}")


@given(json_values)
def test_any_answer_in_json(value: Any) -> None:
    said = json.dumps(value, ensure_ascii=False)
    for text in (said, f" {said}\n", f"```json\n{said}\n```", f"<think>a {{ b</think>\n{said}"):
        if isinstance(value, dict | list):
            assert parse(text, True) == value
        else:
            with pytest.raises(NotJson):
                parse(text, True)


@given(st.text(max_size=60))
def test_any_answer(text: str) -> None:
    try:
        found = parse(text, True)
    except NotJson:
        found = []
    assert isinstance(found, dict | list)


def test_json_is_not_picked_out_of_running_text() -> None:
    for text in ('Here: {"a": 1}', '{"a": 1} as asked', '{"a": NaN}', "[" * 5000, '{"a": 1', ""):
        with pytest.raises(NotJson):
            parse(text, True)
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}
    assert parse('{"a": 1}', schema) == {"a": 1}
    with pytest.raises(NotJson, match="against the schema at a: 'x' is not of type 'integer'"):
        parse('{"a": "x"}', schema)
    assert check_schema(schema) is None
    assert check_schema({"type": "objekt"})


def test_prompts_of_rows() -> None:
    user = {"role": "user", "content": "q\nmore"}
    alpaca = {"instruction": "q", "input": "more", "output": "the answer", "system": "s"}
    assert messages(alpaca, {}) == [{"role": "system", "content": "s"}, user]
    assert messages(alpaca, {"system": ""}) == [user]
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert messages({"messages": talk}, {}) == talk[:1]
    longer = [*talk, {"role": "user", "content": "c"}]
    assert messages({"m": longer}, {"messages": "m", "system": "t"}) == [
        {"role": "system", "content": "t"},
        *longer,
    ]
    sharegpt = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert messages(sharegpt, {}) == talk[:1]
    for row, prompt, said in (
        ({"x": 1}, {}, "neither instruction"),
        ({"x": 1}, {"user": "{y}"}, "it has no `y`"),
        ({"x": ""}, {"user": "{x}"}, "is empty"),
        ({"m": "text"}, {"messages": "m"}, "no list of messages"),
        ({"messages": []}, {}, "turn"),
        ({"messages": [{"role": "robot", "content": "a"}]}, {}, "unknown role"),
    ):
        with pytest.raises(NoPrompt, match=said):
            messages(row, prompt)


@given(st.integers(0, 2**40), st.integers(0, 10**6), st.integers(0, 255))
def test_seeds(seed: int, row: int, sample: int) -> None:
    how = Sampling(seed=seed)
    assert 0 <= how.seed_of(row, sample) < 2**31
    assert how.seed_of(row, sample) != how.seed_of(row, sample + 1)
    assert how.seed_of(row, sample) != how.seed_of(row + 1, sample)
