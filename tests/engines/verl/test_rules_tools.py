"""Rules of `tools:`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from residency.engines.verl import rules_tools
from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping, Span, from_plain

ROLLOUT = "actor_rollout_ref.rollout"


def check(tools: list[str] | None = None, **verl: Any) -> list[Diagnostic]:
    value: dict[str, Any] = {"kind": "rlvr", "verl": verl}
    if tools is not None:
        value["tools"] = tools
    tree = from_plain(value, Span("recipe.yaml", 1, 1, 1, 1))
    assert isinstance(tree, Mapping)
    found = Diagnostics()
    rules_tools.check(Recipe(Path("recipe.yaml"), "rlvr", "x", tree), found)
    return list(found)


def test_nothing_to_say() -> None:
    assert check() == []
    assert check(["a.b.search", "a.b.calculate"], **{f"{ROLLOUT}.multi_turn.format": "hermes"}) == []
    assert (
        check(["a.b.c"], actor_rollout_ref={"rollout": {"agent": {"default_agent_loop": "tool_agent"}}}) == []
    )


def test_names_must_differ() -> None:
    (found,) = check(["a.search", "b.search", "b.other"])
    assert (found.code, found.message) == (
        "bad-tool",
        "two tools are named `search`, and a model calls them by name",
    )


@pytest.mark.parametrize("tools", [None, ["a.b"]])
def test_the_format_must_be_known(tools: list[str] | None) -> None:
    (found,) = check(tools, actor_rollout_ref={"rollout.multi_turn": {"format": "hermse"}})
    assert (found.code, found.hint) == ("not-a-choice", "did you mean `hermes`?")


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("multi_turn.function_tool_path", "x.py", "reserved-key"),
        ("agent.agent_loop_config_path", "x.yaml", "reserved-key"),
        ("agent.default_agent_loop", "single_turn_agent", "reserved-key"),
        ("multi_turn.enable", False, "conflicting-keys"),
    ],
)
def test_keys_that_tools_set(key: str, value: Any, code: str) -> None:
    (found,) = check(["a.b"], **{f"{ROLLOUT}.{key}": value})
    assert found.code == code
    assert check(None, **{f"{ROLLOUT}.{key}": value}) == []
