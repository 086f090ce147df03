"""What verl 0.9.1 refuses, or silently does otherwise than meant, that no schema can say.

Each rule is taken from `verl.utils.config.validate_config`, the `__post_init__` and `validate` of its
dataclasses, the assertions of its workers and trainer, or from what the launcher sets itself. verl finds
these out one at a time, after Ray has been started and models have been loaded, and names no line.
"""

from __future__ import annotations

from residency.engines.base import CheckContext
from residency.engines.verl.rules import (
    algorithm,
    batch,
    data,
    launcher,
    length,
    model,
    moved,
    reference,
    rollout,
    steps,
    tools,
)
from residency.engines.verl.rules.view import BLOCK, View
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Block

PARTS = (
    moved,
    data,
    launcher,
    algorithm,
    batch,
    length,
    model,
    rollout,
    steps,
    tools,
    reference,
)


def check(recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    """Add every broken rule of a recipe with a `verl:` block.

    Args:
        recipe: The resolved recipe; its schema is checked apart.
        context: The machine and the command.
        found: Takes the diagnostics.
    """
    block = recipe.tree.get(BLOCK)
    if not isinstance(block, Block):
        return
    view = View(recipe, block, context, found)
    for part in PARTS:
        for rule in part.RULES:
            rule(view)
