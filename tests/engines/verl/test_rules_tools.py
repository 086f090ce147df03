"""Rules of `tools:`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from residency.engines.base import CheckContext
from residency.engines.verl import rules
from residency.engines.verl.rules import tools as rules_tools
from residency.engines.verl.rules.view import View
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
    block = tree.get("verl")
    assert isinstance(block, Mapping)
    found = Diagnostics()
    context = CheckContext(project=Path(), cwd=Path())
    view = View(Recipe(Path("recipe.yaml"), "rlvr", "x", tree), block, context, found)
    for rule in rules_tools.RULES:
        rule(view)
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


def test_the_loop_is_the_launchers() -> None:
    key = f"{ROLLOUT}.agent.agent_loop_config_path"
    (found,) = check(["a.b"], **{key: "x.yaml"})
    assert found.code == "reserved-key"
    assert check(None, **{key: "x.yaml"}) == []


def test_the_rules_are_asked() -> None:
    assert rules_tools in rules.PARTS
