"""What a recipe of `kind: index` says, in the form that its command takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.transformers.engine import resolve


def as_list(value: Any) -> list[Any]:
    """A list as it is; nothing as none; else one value alone."""
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def corpora(config: Mapping[str, Any], recipe_folder: Path, project: Path) -> list[Any]:
    """Each item of `corpus`: an absolute path, or a source as a mapping."""
    return [
        dict(item) if isinstance(item, Mapping) else resolve(str(item), recipe_folder, project)
        for item in as_list(config.get("corpus"))
    ]
