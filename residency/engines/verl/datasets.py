"""Where the rows of a stage lie: `dataset:` and `eval_dataset:`, or the files that verl's keys name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from residency.engines.verl import tree
from residency.errors import ResidencyError
from residency.recipe.model import TOKEN_OPEN
from residency.rewards.datasets import Source, find, names

KEYS = {"dataset": "data.train_files", "eval_dataset": "data.val_files"}
"""The recipe's key → verl's, which counts where the recipe's is not given."""


def asked(config: Mapping[str, Any], key: str) -> list[str]:
    """What the recipe names under `dataset` or `eval_dataset`, or under verl's key for it."""
    return names(config.get(key)) or names(tree.values(config.get("verl") or {}).get(KEYS[key]))


def sources(
    config: Mapping[str, Any],
    key: str,
    recipe_folder: Path,
    project: Path,
    made: Mapping[str, Mapping[str, Any]],
) -> list[Source]:
    """The datasets under `dataset` or `eval_dataset`; the arguments as `residency.rewards.datasets.find`.

    Raises:
        Missing: A file is not there.
        RecipeInvalid: A name stands in no registry.
    """
    return find({key: asked(config, key)}, key, recipe_folder, project, made)


def files(config: Mapping[str, Any], recipe_folder: Path, project: Path) -> list[Path]:
    """The data files that are there now, for the fingerprint; those that a stage makes come later."""
    found: list[Path] = []
    for key in KEYS:
        for name in asked(config, key):
            if TOKEN_OPEN not in name:
                with suppress(ResidencyError):  # said by the check
                    found += [s.path for s in find({key: name}, key, recipe_folder, project, {})]
    return list(dict.fromkeys(found))
