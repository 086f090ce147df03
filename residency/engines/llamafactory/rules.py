"""What LLaMA-Factory 0.9.5 refuses, or silently does wrongly, that no schema can say.

Each rule is taken from `llamafactory.hparams.parser`, the `__post_init__` of its argument
classes, or transformers' `TrainingArguments`; the engine finds these out one at a time, after
seconds of imports, and names no line.
"""

from __future__ import annotations

from residency.engines.base import CheckContext
from residency.engines.llamafactory import (
    rules_data,
    rules_deepspeed,
    rules_evaluation,
    rules_method,
    rules_paths,
    rules_training,
)
from residency.engines.llamafactory.view import View
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping


def check(recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    """Add every broken rule of a recipe with a `llamafactory:` block.

    Args:
        recipe: The resolved recipe; its schema is checked apart.
        context: The machine and the command.
        found: Takes the diagnostics.
    """
    block = recipe.tree.get("llamafactory")
    if not isinstance(block, Mapping):
        return
    view = View(recipe, block, context, found)
    for part in (rules_method, rules_training, rules_evaluation, rules_deepspeed, rules_paths, rules_data):
        for rule in part.RULES:
            rule(view)
