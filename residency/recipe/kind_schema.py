"""The JSON Schema of each recipe kind, put together from `schemas/`.

`schemas/kinds/NAME.json` states a kind's own keys; adding a kind is adding that file. Three
things are put in when it is read:

- the keys of `schemas/common.json`, which every kind has;
- for `"x-engine": "llamafactory"`, the schema of that engine's keys
  (`schemas/engines/llamafactory-VERSION.json`, the installed version's where there is one);
- for `"x-stages": true` (in pipelines), what a stage may hold: `recipe:`, `with:`, `needs:` and
  the keys of every other kind, or an inline recipe of one kind.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
_STAGE_KEYS = ("recipe", "with", "needs")


def names(folder: Path = SCHEMAS) -> list[str]:
    """Every kind that has a schema, in alphabetical order."""
    return sorted(path.stem for path in (folder / "kinds").glob("*.json"))


def load(kind: str, folder: Path = SCHEMAS) -> dict[str, Any] | None:
    """The whole schema of a kind, without references to other files; None for an unknown kind."""
    return _load(kind, folder) if kind in names(folder) else None


def load_pipeline(folder: Path = SCHEMAS) -> dict[str, Any]:
    """The schema of a pipeline's own keys, for a checker that checks the recipe of each stage by itself.

    Of a stage's entry it describes `recipe`, `with` and `needs` alone.
    """
    whole = _load("pipeline", folder)
    own = {"properties": _read(folder / "common.json")["x-stage-properties"]}
    stages = {**whole["properties"]["stages"], "additionalProperties": own}
    del stages["propertyNames"]  # `recipe.pipeline` checks the names
    return {**whole, "properties": {**whole["properties"], "stages": stages}}


def external_service(folder: Path = SCHEMAS) -> dict[str, Any]:
    """The schema of an entry of `services:` that runs already."""
    found: dict[str, Any] = _read(folder / "common.json")["x-external-service"]
    return found


def engine(name: str, folder: Path = SCHEMAS) -> dict[str, Any]:
    """The schema of an engine's keys: the installed version's, else the newest, else anything."""
    path = engine_file(name, folder)
    return _read(path) if path else {"type": "object"}


def engine_file(name: str, folder: Path = SCHEMAS) -> Path | None:
    """The file of an engine's schema that fits this machine best, or None when there is none."""
    found = sorted((folder / "engines").glob(f"{name}-[0-9]*.json"), key=_version)
    if len(found) > 1:
        import importlib.metadata

        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = ""
        exact = [path for path in found if path.stem == f"{name}-{installed}"]
        found = exact or found
    return found[-1] if found else None


@functools.cache
def _load(kind: str, folder: Path) -> dict[str, Any]:
    own = _read(folder / "kinds" / f"{kind}.json")
    common = _read(folder / "common.json")
    schema = {**own, "properties": {**common["properties"], **own["properties"]}}
    schema["properties"]["kind"] = {**common["properties"]["kind"], "const": kind}
    # One set of definitions for all kinds, since a pipeline holds any of them.
    schema["$defs"] = dict(common["$defs"])
    for name in names(folder):
        schema["$defs"].update(_read(folder / "kinds" / f"{name}.json").get("$defs", {}))
    replaced: dict[str, Any] = expand(schema, lambda node: _put_in(node, folder))
    return replaced


def expand(node: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A copy of a schema with `change` applied to each of its objects, inner ones first."""
    if isinstance(node, list):
        return [expand(item, change) for item in node]
    if isinstance(node, dict):
        return change({key: expand(value, change) for key, value in node.items()})
    return node


def _put_in(node: dict[str, Any], folder: Path) -> dict[str, Any]:
    if isinstance(node.get("x-engine"), str):
        found = engine(node["x-engine"], folder)
        # What the kind says of its block (a description, a key that it sets itself) comes on top.
        merged = {key: value for key, value in found.items() if key not in ("$schema", "$comment")}
        merged.update({key: value for key, value in node.items() if key not in ("properties", "required")})
        merged["properties"] = {**found.get("properties", {}), **node.get("properties", {})}
        if "required" in node:
            merged["required"] = node["required"]
        return merged
    if node.get("x-stages") is True:
        return {**node, **_stages(folder)}
    return node


def _stages(folder: Path) -> dict[str, Any]:
    """The schema of one entry of `stages:`."""
    kinds = {kind: _load(kind, folder) for kind in names(folder) if kind != "pipeline"}
    own = _read(folder / "common.json")["x-stage-properties"]
    anything: dict[str, Any] = {}
    for schema in kinds.values():
        # Laid over the child recipe, which is checked as a whole; here only the names count.
        anything.update({key: _name_only(value) for key, value in schema["properties"].items()})
    inline = {key: own[key] for key in own if key == "needs"}
    kind = {"enum": list(kinds), "x-code": "unknown-kind", "description": "or `recipe: FILE`"}
    arms: list[dict[str, Any]] = [
        {
            "if": {"required": ["recipe"]},
            "then": {"properties": {**anything, **own, "kind": False}, "additionalProperties": False},
            "else": {"required": ["kind"], "properties": {"kind": kind}},
        }
    ]
    for name, schema in kinds.items():
        whole = {key: value for key, value in schema.items() if key not in ("$schema", "title", "$defs")}
        whole["properties"] = {**schema["properties"], **inline}
        arms.append(
            {
                "if": {
                    "properties": {"kind": {"const": name}, "recipe": False},
                    "required": ["kind"],
                },
                "then": whole,
            }
        )
    return {"type": "object", "allOf": arms}


def _name_only(schema: Any) -> dict[str, Any]:
    if not isinstance(schema, dict):
        return {}
    return {key: schema[key] for key in ("description",) if key in schema}


@functools.cache
def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", path.stem))
