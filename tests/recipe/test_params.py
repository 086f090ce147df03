"""residency.recipe.params"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from residency.recipe.nodes import Scalar, Span

Load = Callable[..., Any]
HERE = Span("pipeline.yaml", 7, 3, 7, 9)

RECIPE = """
kind: export
params:
  model: some/model
  steps: 3
  rate: 1e-4
  fast: false
  tasks: [a]
  extra: {x: 1}
  anything: null
  size: {default: small, description: How large, choices: [small, large]}
  lr: {type: number, default: 1}
  derived: ${params.rate}-${params.steps}
"""


def test_types_are_inferred_or_given(load_files: Load) -> None:
    loaded = load_files(RECIPE)
    assert loaded.found.items == []
    declared = loaded.recipe.declared
    assert {name: param.type for name, param in declared.items()} == {
        "model": "string",
        "steps": "integer",
        "rate": "number",
        "fast": "boolean",
        "tasks": "list",
        "extra": "mapping",
        "anything": "any",
        "size": "string",
        "lr": "number",
        "derived": "any",
    }
    assert declared["size"].description == "How large"
    assert declared["size"].choices == ("small", "large")
    assert declared["size"].span.line == 10
    assert loaded.recipe.params["derived"] == "0.0001-3"
    assert loaded.recipe.params["extra"] == {"x": 1}


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ("model=other/model", None),
        ("model=3", None),
        ("model=[a]", "wrong-type"),
        ("steps=4", None),
        ("steps=4.5", "wrong-type"),
        ("steps=many", "wrong-type"),
        ("steps=true", "wrong-type"),
        ("steps=", "wrong-type"),
        ("rate=1", None),
        ("rate=x", "wrong-type"),
        ("fast=true", None),
        ("fast=yes", "wrong-type"),
        ("fast=1", "wrong-type"),
        ("tasks=[b, c]", None),
        ("tasks=b", "wrong-type"),
        ("extra={y: 2}", None),
        ("anything=3", None),
        ("anything=", None),
        ("size=large", None),
        ("size=lrage", "not-a-choice"),
        ("lr=0.5", None),
    ],
)
def test_values_are_checked(load_files: Load, given: str, code: str | None) -> None:
    loaded = load_files(RECIPE, overrides=(f"params.{given}",))
    assert loaded.codes == ([code] if code else [])
    if code:
        item = loaded.found.items[0]
        assert item.span.file == f"--set params.{given}"
        assert "`" + given.split("=")[0] + "`" in item.message


def test_a_fraction_for_a_whole_number_says_what_to_declare(load_files: Load) -> None:
    loaded = load_files(RECIPE, overrides=("params.steps=0.5",))
    assert loaded.found.items[0].hint == "write `type: number` where it is declared, to allow fractions"
    assert [span.line for _, span in loaded.found.items[0].notes] == [4]


def test_a_missing_value_says_how_to_give_it(load_files: Load) -> None:
    recipe = "kind: export\nparams:\n  model: {type: string, description: d}\nmodel: ${params.model}\n"
    loaded = load_files(recipe)
    assert [(d.span.line, d.span.column, d.code) for d in loaded.found] == [(3, 3, "missing-param")]
    assert "--set params.model=VALUE" in loaded.found.items[0].hint
    assert load_files(recipe, overrides=("params.model=x",)).config == {"kind": "export", "model": "x"}
    given = {"model": Scalar("y", HERE, "y", literal=True)}
    assert load_files(recipe, arguments=given).config["model"] == "y"


def test_arguments_win_over_profiles_and_are_text(load_files: Load) -> None:
    recipe = RECIPE + "model: ${params.model}\nprofiles: {smoke: {params: {model: small}}}\n"
    given = {"model": Scalar("${x}", HERE, "${x}", literal=True)}
    loaded = load_files(recipe, arguments=given, profiles=("smoke",))
    assert loaded.found.items == []
    assert loaded.config["model"] == "${x}"
    assert loaded.recipe.tree.get("model").span == HERE
    assert loaded.recipe.tree.get("model").via.file == "recipe.yaml"


def test_an_unknown_argument_is_reported_where_it_is_given(load_files: Load) -> None:
    loaded = load_files(RECIPE, arguments={"modle": Scalar("x", HERE, "x", literal=True)})
    item = loaded.found.items[0]
    assert (item.span, item.code, item.hint) == (HERE, "unknown-param", "did you mean `model`?")


def test_a_token_has_no_type_yet(load_files: Load) -> None:
    token = Scalar("⟦stages.a.outputs.x⟧", HERE, literal=True)
    loaded = load_files(RECIPE, arguments={"steps": token, "size": token})
    assert loaded.found.items == []


@pytest.mark.parametrize(
    ("declaration", "codes"),
    [
        ("params: [a]", ["wrong-type"]),
        ("params: x", ["wrong-type"]),
        ("params:", []),
        ("params: {a: {type: int32, default: 1}}", ["not-a-choice"]),
        ("params: {a: {type: str, default: x}}", ["not-a-choice"]),
        ("params: {a: {default: 1, choices: 3}}", ["wrong-type"]),
        ("params: {a: {defalt: 1}}", ["missing-param", "unknown-key"]),
        ("params: {a: {default: 1, desc: x}}", ["unknown-key"]),
        ("params: {a: {default: x, type: integer}}", ["wrong-type"]),
        ("params: {a: {default: c, choices: [a, b]}}", ["not-a-choice"]),
        ("params: {a: {x: 1, y: 2}}", []),
    ],
)
def test_declarations_are_checked(load_files: Load, declaration: str, codes: list[str]) -> None:
    loaded = load_files(f"kind: export\n{declaration}\n")
    assert sorted(loaded.codes) == codes
    assert loaded.recipe is not None
