"""Compares training sets with evaluation sets: a question that a model was trained on measures nothing.

Leaves `report` and `leaks`. A pipeline that trains and evaluates has such a stage by itself
(`residency.plan.guard`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.engines.contamination import spec
from residency.engines.contamination.engine import ENGINE, LEAKS, REPORT
from residency.errors import Missing, RecipeInvalid
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import plain
from residency.recipe.tokens import bodies
from residency.rewards.datasets import names
from residency.stages.base import Inputs, Output, StageKind

COMPARES = (
    "residency.contamination.common.limit",
    "residency.contamination.find.compare",
    "residency.contamination.fold.letters",
    "residency.contamination.index.build",
    "residency.contamination.rows.read",
)
"""What the result depends on beside the files."""


class Contamination(StageKind):
    """`kind: contamination`."""

    name: ClassVar[str] = "contamination"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """Every file is there, or another stage makes it."""
        for key in spec.SETS:
            node = recipe.tree.get(key)
            if not isinstance(node, Tree):
                continue
            for name, entry in node.entries.items():
                for item in names(plain(entry.value)):
                    if list(bodies(item)) or "${" in item:
                        continue
                    try:
                        paths = spec.files({key: {name: item}}, key, recipe.folder, context.project, {})
                    except Missing as error:
                        found.add("missing-file", error.message, entry.value, hint=error.hint)
                        continue
                    except RecipeInvalid as error:
                        found.add("unknown-dataset", error.message, entry.value, hint=error.hint)
                        continue
                    for path in paths[name]:
                        if not Path(path).exists():
                            found.add("missing-file", f"the data file {path} is not there", entry.value)

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """A command of our own."""
        return ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`report`: the counts; `leaks`: a line for each leak."""
        return {"report": Output(REPORT, "file"), "leaks": Output(LEAKS, "file")}

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """The files of all sets."""
        return Inputs(
            files=tuple(spec.known_files(config, recipe_folder, project)),
            functions=COMPARES,
            ignore=("resources",),
        )


KIND = Contamination()
