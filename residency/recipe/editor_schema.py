"""`schemas/recipe.schema.json`: one schema for every kind, for editors.

It differs from what `check` uses in three ways, since an editor sees the text before it is
composed: every value may be an interpolation (`${params.x}`), nothing is required but where
`extends:` cannot supply it, and `profiles:` hold any part of the recipe.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from residency.recipe.kind_schema import SCHEMAS, engine, expand, names

LATER = {"type": "string", "pattern": r"\$\{.*\}"}
_DROPPED = ("$schema", "$comment", "title", "$defs", "required", "oneOf", "anyOf")


def build(folder: Path = SCHEMAS) -> dict[str, Any]:
    """The schema, from `schemas/kinds/` and `schemas/engines/`."""
    common = _read(folder / "common.json")
    kinds = {name: _read(folder / "kinds" / f"{name}.json") for name in names(folder)}
    defs: dict[str, Any] = {"later": LATER}
    for source in (common, *kinds.values()):
        defs.update({name: _open(value) for name, value in source.get("$defs", {}).items()})
    for name, schema in kinds.items():
        own = {key: _placed(value) for key, value in schema["properties"].items()}
        shared = {key: _open(value) for key, value in common["properties"].items() if key != "profiles"}
        shared["kind"] = {**common["properties"]["kind"], "const": name}
        shared["profiles"] = {
            **common["properties"]["profiles"],
            "additionalProperties": {"$ref": f"#/$defs/part-{name}"},
        }
        rest = {key: value for key, value in schema.items() if key not in (*_DROPPED, "properties")}
        defs[f"kind-{name}"] = {**rest, "properties": {**shared, **own}}
        part = {key: value for key, value in {**shared, **own}.items() if key not in ("profiles", "extends")}
        if name == "pipeline":
            stages = part["stages"]["anyOf"][0]
            stages = {**stages, "additionalProperties": {"$ref": "#/$defs/part-stage"}}
            part["stages"] = {**part["stages"], "anyOf": [stages, {"$ref": "#/$defs/later"}]}
        defs[f"part-{name}"] = {"type": "object", "additionalProperties": False, "properties": part}
        if name != "pipeline":
            needs = {"needs": _open(common["x-stage-properties"]["needs"])}
            inline = {**rest, "properties": {**shared, **own, **needs}}
            defs[f"stage-{name}"] = inline
    for used in _engines(kinds):
        schema = {key: value for key, value in engine(used, folder).items() if key not in _DROPPED}
        opened = {key: _open(value) for key, value in schema.get("properties", {}).items()}
        defs[f"engine-{used}"] = {**schema, "properties": opened}
    defs["stage"] = _stage(kinds, common)
    defs["part-stage"] = _part_of_a_stage(kinds, common)
    arms = [
        {
            "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
            "then": {"$ref": f"#/$defs/kind-{name}"},
        }
        for name in kinds
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Residency recipe",
        "$comment": "Made by `launch.py schema` from schemas/kinds/ and schemas/engines/. Do not edit.",
        "type": "object",
        "properties": {"kind": {**common["properties"]["kind"], "enum": list(kinds)}},
        # Without `kind:` it is a plain LLaMA-Factory YAML, or a part for `extends:` and profiles.
        "if": {"required": ["kind"]},
        "else": {"anyOf": [{"$ref": "#/$defs/engine-llamafactory"}, *_parts(kinds)]},
        "allOf": arms,
        "$defs": dict(sorted(defs.items())),
    }


def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def _placed(schema: dict[str, Any]) -> dict[str, Any]:
    """A kind's own key: engine blocks and stages become references."""

    def change(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(node.get("x-engine"), str):
            rest = {key: value for key, value in node.items() if key != "x-engine"}
            return {**rest, "$ref": f"#/$defs/engine-{node['x-engine']}"}
        return {"$ref": "#/$defs/stage"} if node.get("x-stages") is True else node

    found: dict[str, Any] = _open(expand(schema, change))
    return found


def _parts(kinds: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"$ref": f"#/$defs/part-{name}"} for name in kinds]


def _engines(kinds: dict[str, Any]) -> list[str]:
    found: dict[str, None] = {"llamafactory": None}

    def note(node: dict[str, Any]) -> dict[str, Any]:
        if isinstance(node.get("x-engine"), str):
            found[node["x-engine"]] = None
        return node

    expand(kinds, note)
    return list(found)


def _stage(kinds: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    own = {key: _open(value) for key, value in common["x-stage-properties"].items()}
    over: dict[str, Any] = {key: True for schema in kinds.values() for key in schema["properties"]}
    over.update({key: True for key in common["properties"] if key != "kind"})
    arms: list[dict[str, Any]] = [
        {
            "if": {"required": ["recipe"]},
            "then": {"properties": {**over, **own}, "additionalProperties": False},
            "else": {"required": ["kind"]},
        }
    ]
    arms += [
        {
            "if": {"properties": {"kind": {"const": name}}, "required": ["kind"]},
            "then": {"$ref": f"#/$defs/stage-{name}"},
        }
        for name in kinds
        if name != "pipeline"
    ]
    inline = [name for name in kinds if name != "pipeline"]
    return {
        "type": "object",
        "properties": {"kind": {"description": "The kind of an inline recipe.", "enum": inline}, **own},
        "allOf": arms,
    }


def _part_of_a_stage(kinds: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """What a profile lays over a stage, whose kind it need not say."""
    found: dict[str, Any] = {key: _open(value) for key, value in common["properties"].items()}
    found.update({key: _open(value) for key, value in common["x-stage-properties"].items()})
    for schema in kinds.values():
        for key, value in schema["properties"].items():
            placed = _placed(value)
            found[key] = placed if found.get(key, placed) == placed else True
    return {"type": "object", "additionalProperties": False, "properties": found}


def _open(schema: Any) -> Any:
    """The schema with each value that is not free text also allowed to be an interpolation."""
    if not isinstance(schema, dict):
        return schema
    inner = {key: _open_inside(key, value) for key, value in schema.items()}
    types = schema.get("type", ())
    free = "string" in ((types,) if isinstance(types, str) else types) and "pattern" not in schema
    if free or not (set(schema) & {"type", "enum", "const", "anyOf", "oneOf", "$ref"}):
        return inner
    spoken = {key: inner.pop(key) for key in ("description", "default") if key in inner}
    return {**spoken, "anyOf": [inner, {"$ref": "#/$defs/later"}]}


def _open_inside(key: str, value: Any) -> Any:
    if key in ("properties", "patternProperties"):
        return {name: _open(below) for name, below in value.items()}
    if key in ("additionalProperties", "items"):
        return _open(value)
    if key in ("anyOf", "oneOf"):
        return [
            {name: _open_inside(name, below) for name, below in branch.items()}
            if isinstance(branch, dict)
            else branch
            for branch in value
        ]
    return value
