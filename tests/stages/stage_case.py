"""Checks a recipe that a test writes as plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency import stages
from residency.engines.base import CheckContext
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping, Span, from_plain


def recipe(config: dict[str, Any], folder: Path) -> Recipe:
    """A resolved recipe, every value of it at one place."""
    tree = from_plain(config, Span("r.yaml", 1, 1, 1, 2))
    assert isinstance(tree, Mapping)
    return Recipe(folder / "r.yaml", str(config["kind"]), "r", tree)


def check(config: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """The codes and messages of the stage kind's own check."""
    found = Diagnostics()
    kind = stages.get(str(config["kind"]))
    kind.check(recipe(config, folder), CheckContext(project=folder, cwd=folder), found)
    return [(item.code, item.message) for item in found]
