"""Where the names and paths of an `evaluate` recipe lead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.recipe.model import TOKEN_OPEN

HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")
"""A model's name on the hub: `name` or `owner/name`."""


def roots(recipe_folder: Path, project: Path) -> tuple[Path, ...]:
    """The folders at which a relative path may start, first come first served."""
    return (recipe_folder, project, Path.cwd())


def find(value: str, starts: tuple[Path, ...]) -> Path | None:
    """The absolute path of an existing file or folder, or None."""
    given = Path(value).expanduser()
    return next(((s / given).absolute() for s in starts if (s / given).exists()), None)


def place(value: str, starts: tuple[Path, ...]) -> Path:
    """The absolute path that `value` names; it need not exist yet."""
    return find(value, starts) or (starts[0] / Path(value).expanduser()).absolute()


def is_path(value: str) -> bool:
    """True when a model's name can only be a path."""
    return value.startswith(("/", "./", "../", "~")) or not HUB.fullmatch(value)


def model(value: str, starts: tuple[Path, ...]) -> str:
    """The absolute path of a model or adapter on this machine, or its name on the hub."""
    found = find(value, starts)
    if found is not None or is_path(value):
        return str(found or place(value, starts))
    return value


def is_token(value: Any) -> bool:
    """True for a value that another stage has yet to give, or that a reported mistake keeps unknown."""
    return isinstance(value, str) and (TOKEN_OPEN in value or "${" in value)


def task_names(config: Mapping[str, Any]) -> list[str]:
    """The tasks of a recipe, each once: a list, or names with commas between them."""
    given = config.get("tasks") or []
    items = given.split(",") if isinstance(given, str) else given
    return list(dict.fromkeys(str(item).strip() for item in items if str(item).strip()))


def data_files(config: Mapping[str, Any]) -> dict[str, str]:
    """Task → the data file that the recipe names for it, as written."""
    given = config.get("data")
    return {str(k): str(v) for k, v in given.items()} if isinstance(given, Mapping) else {}


def block(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `lm_eval:` block of a recipe."""
    given = config.get("lm_eval")
    return dict(given) if isinstance(given, Mapping) else {}


def limit(config: Mapping[str, Any]) -> int | float | None:
    """How many questions of each task are asked (below 1: which share of them), or None for all."""
    found = config.get("limit")
    return block(config).get("limit") if found is None else found
