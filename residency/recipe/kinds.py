"""The recipe kinds and the keys that each knows, as `schemas/kinds/*.json` states them."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from residency.paths import PROJECT

FOLDER = PROJECT / "schemas" / "kinds"
PIPELINE = "pipeline"
COMMON = frozenset(
    {"kind", "name", "description", "extends", "params", "profiles", "resources", "env", "services"}
)
"""The keys that every kind has."""
BY_BLOCK = {
    "stages": PIPELINE,
    "llamafactory": "sft",
    "lm_eval": "evaluate",
    "tasks": "evaluate",
    "pubmed": "corpus",
    "sources": "data",
    "datasets": "data",
    "retriever": "serve",
    "encoder": "index",
    "bm25": "index",
}
"""A key that shows which kind was meant, when `kind:` is missing."""


@functools.cache
def names(folder: Path = FOLDER) -> tuple[str, ...]:
    """Every kind, in alphabetical order."""
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


@functools.cache
def keys(kind: str, folder: Path = FOLDER) -> frozenset[str] | None:
    """The top-level keys of a kind; None when its schema does not list them."""
    try:
        schema = json.loads((folder / f"{kind}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return frozenset(properties) | COMMON if isinstance(properties, dict) else None
