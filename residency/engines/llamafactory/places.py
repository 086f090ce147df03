"""Where the paths in a `llamafactory:` block lead.

A recipe's relative paths start at its own folder, or at the project. A plain LLaMA-Factory
YAML is read as LLaMA-Factory reads it: relative to the current folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.places import absolute as absolute
from residency.engines.places import find as find

TRAINING = "training"
"""LLaMA-Factory's output folder, below the stage's folder: checkpoints, logs, the raw result."""

PATH_KEYS = (
    "model_name_or_path",
    "adapter_name_or_path",
    "ref_model",
    "ref_model_adapters",
    "reward_model",
    "reward_model_adapters",
    "tokenized_path",
    "cache_dir",
    "media_dir",
)
"""Keys of LLaMA-Factory whose value is a path or, for models, a hub name."""
LISTS = ("adapter_name_or_path", "ref_model_adapters", "reward_model_adapters")
"""Those that may name several, separated by commas."""


def block(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `llamafactory:` block of a recipe."""
    return dict(config.get("llamafactory") or {})


def is_plain(config: Mapping[str, Any]) -> bool:
    """True for a plain LLaMA-Factory YAML: the dataset stands in the block alone."""
    return "dataset" not in config and "dataset" in block(config)


def roots(config: Mapping[str, Any], recipe_folder: Path, project: Path) -> tuple[Path, ...]:
    """The folders at which a relative path may start, first come first served."""
    if is_plain(config):
        return (Path.cwd(), recipe_folder, project)
    return (recipe_folder, project, Path.cwd())


def trains_adapter(config: Mapping[str, Any]) -> bool:
    """True when the result is an adapter (LoRA, OFT), not a whole model."""
    return str(block(config).get("finetuning_type", "lora")) in ("lora", "oft")


def names(value: Any) -> list[str]:
    """A LLaMA-Factory list: `a, b` or [a, b]."""
    if value is None or value == "":
        return []
    items = value if isinstance(value, list | tuple) else str(value).split(",")
    return [str(item).strip() for item in items if str(item).strip()]
