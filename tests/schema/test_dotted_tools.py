"""Tools: a function that a model may call must be one that it can be told of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from residency.recipe import dotted, kind_schema
from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.nodes import Scalar, Span, from_plain

MODULE = '''
from __future__ import annotations
from typing import Any, Literal
class Thing: ...
def good(query: str, k: int = 3, how: Literal["a", "b"] | None = None, more: list[str] | None = None) -> str:
    """Look something up.

    Args:
        query: What to look for.
        k: How many to give,
            at most ten.
        how: The way.
        more: Further words.

    Returns:
        query: What was found.
    """
def bare(query, k): ...
def half(query: str, thing: Thing, anything: Any):
    """Do it.

    Args:
        query: The query.
        thing (Thing): A thing.
    """
def variadic(*words: str, **rest: str):
    """Do it."""
def nothing() -> str:
    """Say the time."""
async def waits(query: str) -> str:
    """Wait.

    Args:
        query: For what.
    """
class Tool:
    """A tool."""
    def __init__(self, query: str): ...
broken_hint: "Nowhere"
def unknown_name(query: Nowhere):
    """Do it.

    Args:
        query: The query.
    """
'''


@dataclass
class Context:
    project: Path
    trust: tuple[str, ...] = ()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "tools.py").write_text(MODULE)
    return tmp_path


def check(project: Path, name: str) -> list[Diagnostic]:
    path = f"rewards.tools.{name}"
    use = dotted.Use(path, Scalar(path, Span("recipe.yaml", 1, 1, 1, 9), path), None, 0, (), tool=True)
    found = Diagnostics()
    dotted.check_uses([use], Context(project), found, cache=project / "cache.json")
    return list(found)


@pytest.mark.parametrize("name", ["good", "nothing", "waits"])
def test_good(project: Path, name: str) -> None:
    assert check(project, name) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bare", ["docstring", "type for `query`", "type for `k`", "line `query: …`", "line `k: …`"]),
        ("half", ["type for `thing`", "line `thing: …`", "type for `anything`", "line `anything: …`"]),
        ("variadic", ["`words`, `rest`"]),
        ("Tool", ["not a plain function"]),
        ("unknown_name", ["type for `query`"]),
    ],
)
def test_all_that_is_missing_is_said_at_once(project: Path, name: str, words: list[str]) -> None:
    (found,) = check(project, name)
    assert found.code == "bad-tool"
    for word in words:
        assert word in found.message
    if name == "half":
        assert "`query`" not in found.message


def test_a_path_that_leads_nowhere(project: Path) -> None:
    (found,) = check(project, "godo")
    assert (found.code, found.hint) == ("bad-dotted-path", "did you mean `rewards.tools.good`?")


def test_tools_of_a_recipe_are_found() -> None:
    described = kind_schema.load("rlvr")
    assert described is not None
    span = Span("recipe.yaml", 1, 1, 1, 9)
    recipe = {"kind": "rlvr", "tools": ["residency.tools.calculator.calculate", "${params.tool}"]}
    uses = dotted.functions(from_plain(recipe, span), described)
    assert [(use.path, use.tool) for use in uses] == [("residency.tools.calculator.calculate", True)]


def test_the_shipped_tool_is_one(tmp_path: Path) -> None:
    path = "residency.tools.calculator.calculate"
    use = dotted.Use(path, Scalar(path, Span("recipe.yaml", 1, 1, 1, 9), path), None, 0, (), tool=True)
    found = Diagnostics()
    here = Path(__file__).resolve().parents[2]
    dotted.check_uses([use], Context(here), found, cache=tmp_path / "cache.json")
    assert list(found) == []
