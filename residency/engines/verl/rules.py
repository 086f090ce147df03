"""What verl 0.9.1 refuses, or silently does otherwise than meant, that no schema can say.

Each rule is taken from `verl.utils.config.validate_config`, the `__post_init__` and `validate` of its
dataclasses, the assertions of its workers and trainer, or from what the launcher sets itself. verl finds
these out one at a time, after Ray has been started and models have been loaded, and names no line.
"""

from __future__ import annotations

from residency.engines.base import CheckContext
from residency.engines.verl import (
    rules_algorithm,
    rules_batch,
    rules_data,
    rules_launcher,
    rules_length,
    rules_model,
    rules_moved,
    rules_reference,
    rules_rollout,
    rules_steps,
    rules_tools,
)
from residency.engines.verl.view import BLOCK, View
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Block

PARTS = (
    rules_moved,
    rules_data,
    rules_launcher,
    rules_algorithm,
    rules_batch,
    rules_length,
    rules_model,
    rules_rollout,
    rules_steps,
    rules_tools,
    rules_reference,
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
