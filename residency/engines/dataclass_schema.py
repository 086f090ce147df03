"""JSON Schema of an engine's argument dataclasses; used by the engines' `schema_source`."""

from __future__ import annotations

import dataclasses
import enum
import json
import re
import types
import typing
from pathlib import Path
from typing import Any

_PRIMITIVES: dict[Any, str] = {
    str: "string",
    Path: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
}


def property_schema(item: dataclasses.Field[Any], hint: Any, owner: str) -> dict[str, Any]:
    """The schema of one field: description, default, types or choices, and its class (`x-class`)."""
    default = item.default
    if default is dataclasses.MISSING:
        default = None if item.default_factory is dataclasses.MISSING else item.default_factory()
    if isinstance(default, enum.Enum):
        default = default.value
    branches = _branches(hint)
    if default is None and {"type": "null"} not in branches:
        branches.append({"type": "null"})
    choices = item.metadata.get("choices")
    schema: dict[str, Any] = {}
    if text := item.metadata.get("help"):
        schema["description"] = re.sub(r"\s+", " ", text).strip()
    if default is not None and _is_json(default):
        schema["default"] = default
    if choices:
        branches = [{"enum": list(choices)}, *(b for b in branches if b == {"type": "null"})]
    schema.update(_joined(branches))
    schema["x-class"] = owner
    return schema


def _branches(hint: Any) -> list[dict[str, Any]]:
    """The alternatives of a type, each a schema; text beside an enum is dropped."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        found: list[dict[str, Any]] = []
        for arg in args:
            found += [branch for branch in _branches(arg) if branch not in found]
        # transformers writes `OptimizerNames | str` and then refuses other text.
        if any(isinstance(arg, type) and issubclass(arg, enum.Enum) for arg in args):
            found = [branch for branch in found if branch != {"type": "string"}]
        return found
    if origin is typing.Literal:
        return [{"enum": list(args)}]
    if origin in (list, tuple, set) or hint in (list, tuple):
        return [{"type": "array", **({"items": _joined(_branches(args[0]))} if args else {})}]
    if origin is dict:
        return [{"type": "object"}]
    if hint is type(None):
        return [{"type": "null"}]
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [{"enum": [member.value for member in hint]}]
    if hint in _PRIMITIVES:
        return [{"type": _PRIMITIVES[hint]}]
    if hint is typing.Any:
        return [{}]
    if isinstance(hint, type):
        return []  # a Python object (GenerationConfig), which no YAML can write
    raise SystemExit(f"no JSON type is known for {hint!r}")


def _joined(branches: list[dict[str, Any]]) -> dict[str, Any]:
    """One schema for the alternatives: a list of types where each is nothing but a type."""
    if len(branches) == 1:
        return dict(branches[0])
    if {} in branches:
        return {}
    if all(set(branch) == {"type"} for branch in branches):
        return {"type": [branch["type"] for branch in branches]}
    return {"anyOf": branches}


def lay_over(schema: dict[str, Any], extra: dict[str, Any]) -> None:
    """Add the overlay's entry; `x-add-types` widens the types."""
    extra = dict(extra)
    for added in extra.pop("x-add-types", []):
        known = schema.pop("type", [])
        known = [known] if isinstance(known, str) else list(known)
        branches = schema.pop("anyOf", [{"type": name} for name in known])
        branches.append({"type": added} if isinstance(added, str) else added)
        schema.update(_joined(branches))
    if {"anyOf", "enum", "type"} & set(extra):
        schema.pop("type", None)
        schema.pop("anyOf", None)
    schema.update(extra)


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def lay_over_all(properties: dict[str, dict[str, Any]], overlay: dict[str, Any], engine: str) -> None:
    """Add an overlay's entries. Raises SystemExit when one names a key that the engine lacks."""
    for name, extra in overlay.items():
        if name not in properties:
            raise SystemExit(f"the overlay speaks of `{name}`, which {engine} does not know")
        lay_over(properties[name], extra)
