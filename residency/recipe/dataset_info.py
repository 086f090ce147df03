"""Reads and checks dataset_info.json, the registry of datasets in LLaMA-Factory's format.

An entry says where rows lie and which column holds what; LLaMA-Factory ignores keys that it
does not know and fails minutes later, on the first row, over a column that is not there.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.recipe import json_reader, schema
from residency.recipe.data_columns import check_rows
from residency.recipe.data_rows import TYPES
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.kind_schema import SCHEMAS
from residency.recipe.nodes import Mapping, Node, Scalar, Span, plain
from residency.recipe.suggest import closest

FILE = "dataset_info.json"
HUBS = ("hf_hub_url", "ms_hub_url", "om_hub_url")
PLACES = (*HUBS, "script_url", "cloud_file_name", "file_name")
"""The keys that say where rows lie, in the order in which LLaMA-Factory looks at them."""


@dataclass(frozen=True, slots=True)
class Registry:
    """A dataset_info.json that was read."""

    path: Path
    shown: str
    tree: Mapping

    @property
    def names(self) -> list[str]:
        """The datasets that it lists."""
        return list(self.tree.entries)

    def entry(self, name: str) -> Mapping | None:
        """An entry, or None when it is not there or is no block."""
        node = self.tree.get(name)
        return node if isinstance(node, Mapping) else None


def read(path: Path, found: Diagnostics, *, cwd: Path) -> Registry | None:
    """Read a registry; what is wrong with it as a whole is said in `found`.

    Raises:
        OSError: the file cannot be read.
    """
    name = json_reader.shown(path, cwd)
    tree = json_reader.read(path, found, name=name)
    if tree is None:
        return None
    if not isinstance(tree, Mapping):
        found.add("wrong-type", f"{name} must be an object: {{name: entry}}", tree)
        return None
    return Registry(path, name, tree)


def find(
    name: str, registries: list[Registry], where: Node | Span, found: Diagnostics
) -> tuple[Registry, Mapping] | None:
    """The entry of a dataset in the first registry that has it; else says so (`unknown-dataset`)."""
    for registry in registries:
        if name in registry.tree.entries:
            entry = registry.entry(name)
            if entry is None:
                key = registry.tree.entries[name].key_span
                found.add("wrong-type", f"the entry of `{name}` must be an object", key)
                return None
            return registry, entry
    known = [known for registry in registries for known in registry.names]
    near = closest(name, known)
    files = " or ".join(dict.fromkeys(registry.shown for registry in registries)) or FILE
    if near:
        hint = f"did you mean `{near[0]}`?"
    elif 0 < len(known) <= 12:
        hint = f"it lists {', '.join(known)}"
    else:
        hint = f"add an entry to {files}"
    found.add("unknown-dataset", f"the dataset `{name}` is not in {files}", where, hint=hint)
    return None


def check_entry(registry: Registry, name: str, found: Diagnostics, *, cwd: Path) -> None:
    """Check one entry: its keys, that its file is there, and that the file has its columns."""
    entry = registry.entry(name)
    if entry is None:
        return
    described = _described()
    before = len(found.items)
    schema.validate(entry, {**described["$defs"]["entry"], "$defs": described["$defs"]}, found, name=name)
    sound = not any(item.severity == "error" for item in found.items[before:])
    key = registry.tree.entries[name].key_span
    places = [place for place in PLACES if place in entry.entries]
    if not places:
        if sound:
            hint = 'add `"file_name": "…"`, or `"hf_hub_url"` for a dataset of the hub'
            found.add("missing-key", f"the entry of `{name}` does not say where its rows lie", key, hint=hint)
        return
    others = [place for place in places[1:] if not (place in HUBS and places[0] in HUBS)]
    if others:
        message = f"the entry of `{name}` names several places; `{places[0]}` is used, `{others[0]}` is not"
        found.add("conflicting-keys", message, entry.entries[others[0]].key_span, hint="keep one of them")
    given = plain(entry)
    if sound and given.get("ranking"):
        for column in ("chosen", "rejected"):
            if not (given.get("columns") or {}).get(column):
                where = entry.entries["ranking"].key_span
                message = f"`{name}` is a set of pairs, but no column `{column}` is named"
                hint = f'add `"{column}": "{column}"` under `"columns"`'
                found.add("missing-key", message, where, hint=hint)
                sound = False
    if places[0] != "file_name":
        return
    file = entry.entries["file_name"].value
    if isinstance(file, Scalar) and isinstance(file.value, str):
        data = _data_file(registry.path.parent / file.value, file, found, cwd)
        if data is not None and sound:
            check_rows(data, name, entry, key, found, cwd=cwd)


def _data_file(path: Path, where: Node, found: Diagnostics, cwd: Path) -> Path | None:
    """The file to look into: the one named, or the first of a folder; None when it is no good."""
    shown = json_reader.shown(path, cwd)
    if not path.exists():
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = closest(path.name, beside)
        hint = f"did you mean `{near[0]}`?" if near else "the path starts at the registry's folder"
        found.add("missing-file", f"the data file {shown} is not there", where, hint=hint)
        return None
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.iterdir())
        if not files:
            found.add("missing-file", f"the folder {shown} is empty", where)
            return None
    allowed = ", ".join(ending.lstrip(".") for ending in TYPES)
    for file in files:
        if file.suffix not in TYPES:
            what = json_reader.shown(file, cwd)
            found.add("wrong-form", f"{what} is no data file", where, hint=f"data files end in {allowed}")
            return None
    if len({TYPES[file.suffix] for file in files}) > 1:
        found.add(
            "wrong-form", f"the files in {shown} are of several types", where, hint="use one folder a type"
        )
        return None
    return files[0]


@functools.cache
def _described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / "dataset_info.schema.json").read_text(encoding="utf-8"))
    return found
