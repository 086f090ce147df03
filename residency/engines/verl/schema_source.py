"""Writes the JSON Schema of verl's configuration tree, without importing verl.

The keys and defaults come from verl's generated `_generated_ppo_trainer.yaml`, the types from the
annotations of the dataclasses that it names under `_target_` (read as text), the descriptions
from the comments above the keys in the YAML files that it is composed of.

`python -m residency.engines.verl.schema_source OUT.json`; `launch.py schema` does so.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from residency.engines.verl import moved
from residency.engines.verl.schema_comments import comments
from residency.engines.verl.schema_types import Annotations, Types

DISTRIBUTION = "verl"
OVERLAY = Path(__file__).with_name("schema_overlay.json")
"""What verl does not say: ranges, keys that take one value or a list, keys that it hands to Ray."""

_MISSING = object()
_SELECT = re.compile(r"^\$\{oc\.select:\s*([\w.]+)\s*(?:,(.*))?\}$")
_REFERENCE = re.compile(r"^\$\{(\.*[\w.]+)\}$")
_QUOTED = re.compile(r"[\"'`]([A-Za-z_][\w-]*)[\"'`]")


class _Builder:
    """Builds the schema of each node of verl's default configuration."""

    def __init__(self, tree: dict[str, Any], texts: Mapping[str, str], annotations: Annotations) -> None:
        self.tree, self.texts, self.annotations = tree, texts, annotations

    def block(self, value: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
        """The schema of a block; an empty one takes any key."""
        types = self.annotations.fields(str(value.get("_target_", "")).rsplit(".", 1)[-1])
        schema = self.described(path)
        schema["type"] = ["object", "null"] if path else "object"
        if value:
            schema["additionalProperties"] = False
            schema["properties"] = {
                key: self.node(below, (*path, key), types.get(key)) for key, below in value.items()
            }
        else:
            schema["default"] = {}
        return schema

    def node(self, value: Any, path: tuple[str, ...], annotated: Types | None) -> dict[str, Any]:
        """The schema of one key."""
        if isinstance(value, dict):
            return self.block(value, path)
        schema = self.described(path)
        default = self.followed(value, path)
        if value is not None and value != "???":
            schema["default"] = value
        types = annotated or Types()
        if types.names or types.choices:
            names = set(types.names) | _type_names(default)
            if types.choices and default in (*types.choices, None, _MISSING):
                schema["enum"] = [*types.choices, *([None] if "null" in names else [])]
                return schema
        elif types.anything or default is _MISSING or default is None:
            return schema
        else:
            # Nothing says whether a whole number may be a fraction or a value absent: allow both.
            names = (
                _type_names(default)
                | {"null"}
                | ({"number"} if _type_names(default) & {"integer"} else set())
            )
        if "number" in names:
            names.discard("integer")
        schema["type"] = sorted(names) if len(names) > 1 else next(iter(names))
        if isinstance(default, str) and (known := self.known(path, default)):
            schema["examples"] = known
        return schema

    def described(self, path: tuple[str, ...]) -> dict[str, Any]:
        """The start of a schema: the comment above the key."""
        text = self.texts.get(".".join(path))
        if path and path[-1] == "_target_":
            text = "The dataclass that verl makes of this block; leave it as it is."
        return {"description": text} if text else {}

    def known(self, path: tuple[str, ...], default: str) -> list[str]:
        """The values that the comment names in quotes, when the default is one of them."""
        named = list(dict.fromkeys(_QUOTED.findall(self.texts.get(".".join(path), ""))))
        return named if len(named) > 1 and default in named else []

    def followed(self, value: Any, path: tuple[str, ...], depth: int = 0) -> Any:
        """The default behind an interpolation, or `_MISSING` when it cannot be told."""
        if value == "???" or depth > 8:
            return _MISSING
        if not isinstance(value, str) or "${" not in value:
            return value
        if match := _SELECT.match(value):
            target = self.at(tuple(match[1].split(".")))
            if target is not _MISSING:
                return self.followed(target, tuple(match[1].split(".")), depth + 1)
            return yaml.safe_load(match[2]) if match[2] is not None else _MISSING
        if match := _REFERENCE.match(value):
            name = match[1].lstrip(".")
            dots = len(match[1]) - len(name)
            start = path[: len(path) - dots] if dots else ()
            target_path = (*start, *name.split("."))
            return self.followed(self.at(target_path), target_path, depth + 1)
        return _MISSING if value.startswith("${") else value

    def at(self, path: tuple[str, ...]) -> Any:
        """The default at a path, or `_MISSING`."""
        current: Any = self.tree
        for part in path:
            if not isinstance(current, dict) or part not in current:
                return _MISSING
            current = current[part]
        return current


def _type_names(value: Any) -> set[str]:
    if value is _MISSING:
        return set()
    if value is None:
        return {"null"}
    if isinstance(value, bool):
        return {"boolean"}
    for kind, name in ((int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return {name}
    return {"object"}


class _Loader(yaml.SafeLoader):
    """Reads `1e-6` as a number, as OmegaConf does."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][-+]?\d+)$|^[-+]?(?:\d[\d_]*\.[\d_]*|\.\d[\d_]*)$"
    ),
    list("-+0123456789."),
)


def build() -> dict[str, Any]:
    """The schema of the tree under `verl:`."""
    distribution = importlib.metadata.distribution(DISTRIBUTION)
    package = Path(str(distribution.locate_file("verl")))
    config = package / "trainer" / "config"
    tree = yaml.load((config / "_generated_ppo_trainer.yaml").read_text(encoding="utf-8"), _Loader)
    schema = _Builder(tree, comments(config, "ppo_trainer.yaml"), Annotations(package)).block(tree, ())
    overlay = json.loads(OVERLAY.read_text(encoding="utf-8"))
    for dotted, extra in overlay["properties"].items():
        target = schema
        for part in dotted.split("."):
            if part not in target.get("properties", {}):
                raise SystemExit(f"{OVERLAY.name} speaks of `{dotted}`, which verl does not know")
            target = target["properties"][part]
        target.update(extra)
    for block, keys in overlay["added"].items():
        target = schema
        for part in block.split("."):
            target = target["properties"][part]
        target["properties"] |= keys
    for block, keys in moved.renamed().items():
        target = schema
        for part in filter(None, block.split(".")):
            target = target.get("properties", {}).get(part, {})
        if "properties" in target:
            target["x-renamed"] = keys
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"verl {distribution.version}",
        "$comment": f"Made by `launch.py schema` from verl {distribution.version}. Do not edit.",
        "description": "verl's configuration tree, nested or with dotted keys.",
        "x-dotted": True,
        # For editors; the launcher itself follows the dots.
        "patternProperties": {r"[.+~]": {}},
        **schema,
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(build(), ensure_ascii=False), encoding="utf-8")
