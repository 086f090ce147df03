"""verl's configuration as plain values: one key a leaf (`actor_rollout_ref.actor.optim.lr`), or nested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(block: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """One entry a leaf. Nested and dotted keys may be mixed; an empty mapping is a leaf."""
    found: dict[str, Any] = {}
    for key, value in block.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found.update(flatten(value, f"{name}."))
        else:
            found[name] = value
    return found


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of dotted keys; of a key and a key below it, the one that comes later holds."""
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.split(".")
        at = tree
        for part in path:
            below = at.get(part)
            if not isinstance(below, dict):
                below = at[part] = {}
            at = below
        at[last] = value
    return tree


def block(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `verl:` block of a resolved recipe, one entry a leaf."""
    return flatten(config.get("verl") or {})
