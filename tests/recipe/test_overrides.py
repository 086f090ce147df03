"""residency.recipe.overrides: `--set`"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import at
from residency.recipe.overrides import parse

Load = Callable[..., Any]

RECIPE = """
kind: sft
params: {model: big, tag: x, mix: {a: 1, b: 2}}
dataset: [one, two]
llamafactory:
  lora_rank: 8
  deepspeed:
  actor.optim.lr: 1e-6
  nested: {list: [{x: 1}, {x: 2}]}
"""


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("llamafactory.lora_rank=16", ("llamafactory", "lora_rank"), 16),
        ("llamafactory.learning_rate=1e-4", ("llamafactory", "learning_rate"), 1e-4),
        ("llamafactory.report_to=none", ("llamafactory", "report_to"), "none"),
        ("llamafactory.x=[a, 1, {b: c}]", ("llamafactory", "x"), ["a", 1, {"b": "c"}]),
        ("llamafactory.x=", ("llamafactory", "x"), None),
        ("llamafactory.x='1'", ("llamafactory", "x"), "1"),
        ("llamafactory.x=a=b", ("llamafactory", "x"), "a=b"),
        ("llamafactory.deepspeed.stage=2", ("llamafactory", "deepspeed"), {"stage": 2}),
        ("llamafactory.new.a.b=1", ("llamafactory", "new"), {"a": {"b": 1}}),
        ("llamafactory.actor.optim.lr=1e-5", ("llamafactory", "actor.optim.lr"), 1e-5),
        ('llamafactory."a.b"=1', ("llamafactory", "a.b"), 1),
        ("llamafactory.'a.b'.c=1", ("llamafactory", "a.b"), {"c": 1}),
        (r"llamafactory.a\.b=1", ("llamafactory", "a.b"), 1),
        ("dataset.0=three", ("dataset",), ["three", "two"]),
        ("dataset[1]=three", ("dataset",), ["one", "three"]),
        ("dataset.-1=three", ("dataset",), ["one", "three"]),
        ("llamafactory.nested.list.1.x=9", ("llamafactory", "nested"), {"list": [{"x": 1}, {"x": 9}]}),
        ("llamafactory.x=${params.model}/y", ("llamafactory", "x"), "big/y"),
    ],
)
def test_sets_a_value(load_files: Load, text: str, path: tuple[str, ...], value: Any) -> None:
    loaded = load_files(RECIPE, overrides=(text,))
    assert loaded.found.items == []
    config: Any = loaded.config
    for step in path:
        config = config[step]
    assert config == value
    assert type(config) is type(value)
    assert loaded.config["llamafactory"].get("lora_rank") == (16 if "rank" in text else 8)


def test_the_last_one_wins_and_knows_its_place(load_files: Load) -> None:
    loaded = load_files(RECIPE, overrides=("llamafactory.lora_rank=1", "llamafactory.lora_rank=2"))
    assert loaded.recipe is not None
    node = at(loaded.recipe.tree, ("llamafactory", "lora_rank"))
    assert node is not None
    assert node.span.file == "--set llamafactory.lora_rank=2"
    text = loaded.found.sources[node.span.file]
    assert text[node.span.column - 1 : node.span.end_column - 1] == "2"
    key = loaded.recipe.tree.entries["llamafactory"].value.entries["lora_rank"].key_span  # type: ignore[union-attr]
    assert text[key.column - 1 : key.end_column - 1] == "lora_rank"


@pytest.mark.parametrize(
    ("text", "code", "piece"),
    [
        ("max_steps", "bad-override", "max_steps"),
        ("=3", "bad-override", "=3"),
        ("a..b=1", "bad-override", "a..b=1"),
        ("+a.b=1", "bad-override", "+a"),
        ("llamafactory.lora_rank.x=1", "bad-override", "x"),
        ("dataset.7=1", "bad-override", "7"),
        ("dataset.x=1", "bad-override", "x"),
        ("extends=x.yaml", "bad-override", "extends"),
        ("profiles.smoke=1", "bad-override", "profiles"),
        ("params.modle=x", "unknown-param", "modle"),
        ("name=[1, 2", "yaml-syntax", "["),
        ("name=@x", "yaml-syntax", "@"),
        ("name=⟦x⟧", "reserved-character", "⟦x⟧"),
    ],
)
def test_what_cannot_be_set(load_files: Load, text: str, code: str, piece: str) -> None:
    loaded = load_files(RECIPE, overrides=(text,))
    assert loaded.codes == [code]
    span = loaded.found.items[0].span
    assert span.file == f"--set {text}"
    source = loaded.found.sources[span.file]
    assert source == span.file
    assert source[span.column - 1 : span.end_column - 1] == piece
    assert loaded.recipe is not None


def test_a_parameter_named_without_params(load_files: Load) -> None:
    loaded = load_files(RECIPE, overrides=("model=x", "mix.a=5"))
    assert loaded.found.items == []
    assert loaded.recipe is not None
    assert loaded.recipe.params["model"] == "x"
    assert loaded.recipe.params["mix"]["a"] == 5


EVALUATE = {
    "r.yaml": """
        kind: evaluate
        params: {model: small, limit: 3, tasks: pubmedqa}
        model: ${params.model}
        tasks: ["${params.tasks}"]
        """
}


def test_a_parameter_that_is_a_key_too(load_files: Load) -> None:
    """The parameter where the key is no more than that; else the key, which is said."""
    loaded = load_files(EVALUATE, overrides=("model=big",))
    assert loaded.found.items == []
    assert loaded.recipe is not None
    assert (loaded.recipe.params["model"], loaded.config["model"]) == ("big", "big")
    for text, key in (("tasks=[medqa]", "tasks"), ("limit=7", "limit")):
        loaded = load_files(EVALUATE, overrides=(text,))
        assert loaded.codes == ["bad-override"]
        warning = loaded.found.items[0]
        assert warning.severity == "warning"
        assert warning.hint == f"--set params.{text} sets the parameter"
        assert loaded.config[key] == ([["medqa"], 7][key == "limit"])
        assert loaded.recipe is not None
        assert loaded.recipe.params == {"model": "small", "limit": 3, "tasks": "pubmedqa"}


def test_sets_parameters(load_files: Load) -> None:
    loaded = load_files(RECIPE, overrides=("params.tag=2024", "params.mix.a=5", "params.model.default=small"))
    assert loaded.found.items == []
    assert loaded.recipe is not None
    # A shell takes the quotes away, so what is text stays text.
    assert loaded.recipe.params == {"model": "small", "tag": "2024", "mix": {"a": 5, "b": 2}}


def test_set_wins_over_profiles(load_files: Load) -> None:
    recipe = RECIPE + "profiles: {smoke: {llamafactory: {lora_rank: 1}, params: {model: s}}}\n"
    loaded = load_files(recipe, profiles=("smoke",), overrides=("llamafactory.lora_rank=3", "params.model=m"))
    assert loaded.config["llamafactory"]["lora_rank"] == 3
    assert loaded.recipe is not None
    assert loaded.recipe.params["model"] == "m"


@given(st.text(max_size=30))
def test_no_text_makes_it_fail(text: str) -> None:
    found = Diagnostics()
    assert parse(text, found) is not None or found.items
