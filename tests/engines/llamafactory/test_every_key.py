"""Every key of LLaMA-Factory: its default is accepted, a wrong type and a misspelling are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from residency.recipe import kind_schema, schema
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Span, from_plain
from residency.recipe.suggest import distance

PROJECT = Path(__file__).resolve().parents[3]
KEYS: dict[str, Any] = json.loads((PROJECT / "schemas/engines/llamafactory-0.9.5.json").read_text())[
    "properties"
]
HERE = Span("recipe.yaml", 1, 1, 1, 2)


def codes(block: dict[str, Any]) -> list[str]:
    found = Diagnostics()
    recipe = {"kind": "sft", "dataset": "x", "llamafactory": {"model_name_or_path": "org/model", **block}}
    described = kind_schema.load("sft")
    assert described is not None
    schema.validate(from_plain(recipe, HERE), described, found)
    return [d.code for d in found]


def test_there_are_as_many_as_the_engine_has() -> None:
    assert len(KEYS) == 343


@pytest.mark.parametrize("key", KEYS)
def test_its_default_is_accepted(key: str) -> None:
    if "default" not in KEYS[key]:
        pytest.skip("it has no default")
    assert codes({key: KEYS[key]["default"]}) == []


@pytest.mark.parametrize("key", KEYS)
def test_a_value_of_no_fitting_type_is_refused(key: str) -> None:
    described = json.dumps(KEYS[key])
    if '"object"' in described or ('"type"' not in described and '"enum"' not in described):
        pytest.skip("it takes a mapping, or anything")
    assert codes({key: {"no": "such value"}}) in (["wrong-type"], ["not-a-choice"])


@pytest.mark.parametrize("key", KEYS)
def test_a_misspelling_is_guessed(key: str) -> None:
    if len(key) < 5:
        pytest.skip("too short to guess from")
    misspelt = key[:2] + key[3:]
    if misspelt in KEYS:
        pytest.skip("the misspelling is a key of its own")
    found = Diagnostics()
    described = kind_schema.load("sft")
    assert described is not None
    recipe = {"kind": "sft", "llamafactory": {"model_name_or_path": "org/model", misspelt: 1}}
    schema.validate(from_plain(recipe, HERE), described, found)
    (said,) = [d for d in found if d.code == "unknown-key"]
    assert said.hint is not None
    guess = said.hint.split("`")[1]
    assert guess in KEYS
    assert distance(misspelt, guess) <= 1, "the key itself, or one that is as close"
