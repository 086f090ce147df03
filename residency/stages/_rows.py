"""Where the rows lie that a recipe names under `dataset:`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from residency.errors import Missing, RecipeInvalid
from residency.recipe.model import TOKEN_OPEN
from residency.rewards.datasets import find
from residency.stages.base import Rows


def located(named: Sequence[str], recipe_folder: Path, project: Path) -> Rows:
    """The files of training data: names in dataset_info.json, paths, or other stages' outputs."""
    training, elsewhere = [], []
    for name in named:
        if TOKEN_OPEN in name:
            training.append(name)
            continue
        try:
            training += [str(s.path) for s in find({"dataset": name}, "dataset", recipe_folder, project, {})]
        except (Missing, RecipeInvalid):
            elsewhere.append(f"the dataset {name}, which is not on this disk")
    return Rows(training=tuple(dict.fromkeys(training)), elsewhere=tuple(elsewhere))
