"""Where the names and paths of an `evaluate` recipe lead."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.places import find as find
from residency.engines.places import roots as roots
from residency.recipe.model import TOKEN_OPEN

HUB = re.compile(r"[\w.-]+(/[\w.-]+)?")
"""A model's name on the hub: `name` or `owner/name`."""


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


PUBMED = "pubmed"
"""PubMed itself as the place where PMIDs are looked up."""


def citations(config: Mapping[str, Any], starts: tuple[Path, ...]) -> dict[str, Any] | None:
    """What `citations:` asks for: `{"exists": where PMIDs are looked up, or None}`; None: nothing."""
    given = config.get("citations")
    if not given:
        return None
    if given is True or given == PUBMED or is_token(given):
        return {"exists": None if given is True else given}
    return {"exists": str(place(str(given), starts))}


def block(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `lm_eval:` block of a recipe."""
    given = config.get("lm_eval")
    return dict(given) if isinstance(given, Mapping) else {}


def limit(config: Mapping[str, Any]) -> int | float | None:
    """How many questions of each task are asked (below 1: which share of them), or None for all."""
    found = config.get("limit")
    return block(config).get("limit") if found is None else found
