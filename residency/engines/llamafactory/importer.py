"""Writes a plain LLaMA-Factory YAML as a recipe that means the same.

The text is kept, comments and all, indented under `llamafactory:`. What changes:

- `dataset` and `eval_dataset` move to the recipe's top;
- values that YAML 1.1 and 1.2 read differently (`yes`, `on`) are written out;
- paths are written from the recipe's folder, since a recipe is not read from the current one;
- `dataset_dir` is named where LLaMA-Factory would have looked by default;
- `${…}`, which LLaMA-Factory leaves as it is, is escaped.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from residency.engines.llamafactory.places import LISTS, PATH_KEYS
from residency.recipe.dataset_info import FILE
from residency.recipe.model import Recipe
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Span, plain, walk
from residency.recipe.yaml_scalars import resolve

LIFTED = ("dataset", "eval_dataset")
_PATHS = (
    *PATH_KEYS,
    "dataset_dir",
    "deepspeed",
    "resume_from_checkpoint",
    "output_dir",
    "new_special_tokens_config",
)
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class _Edit:
    start: int
    end: int
    text: str


def to_recipe(recipe: Recipe, text: str, *, out: Path, cwd: Path, schema: Path) -> str:
    """The text of a recipe.

    Args:
        recipe: The plain YAML as it was loaded.
        text: Its text.
        out: Where the recipe will stand; its folder is where paths then start.
        cwd: Where LLaMA-Factory would have been started: where paths start now.
        schema: `recipe.schema.json`, for the first line, which tells editors what the file is.
    """
    block = recipe.tree.get("llamafactory")
    assert isinstance(block, Mapping)
    folder = out.absolute().parent
    changed = {id(node): new for node, new in _changes(block, recipe, folder, cwd)}
    lines = [
        f"# yaml-language-server: $schema={os.path.relpath(schema, folder)}",
        f"# From {recipe.path.name}, a YAML for `llamafactory-cli train`.",
        "kind: sft",
        f"name: {_NAME.sub('-', recipe.path.stem).strip('-.') or 'imported'}",
    ]
    lines += [f"{key}: {_inline(block.entries[key].value)}" for key in LIFTED if _given(block, key)]
    lines.append("llamafactory:")
    if _flow(block, text):
        lines += [
            f"  {key}: {_written(e.value, changed)}" for key, e in block.entries.items() if key not in LIFTED
        ]
    else:
        lines += _indented(block, text, changed)
    if "dataset_dir" not in block.entries and (found := _default_registry(recipe, cwd)) is not None:
        lines.append(
            f"  dataset_dir: {_scalar(os.path.relpath(found, folder))}  # LLaMA-Factory's default, made plain"
        )
    return "\n".join(lines).rstrip() + "\n"


def _given(block: Mapping, key: str) -> bool:
    node = block.get(key)
    return node is not None and plain(node) is not None


def _changes(block: Mapping, recipe: Recipe, folder: Path, cwd: Path) -> list[tuple[Scalar, str]]:
    """The scalars whose text must change, each with its new text."""
    found: list[tuple[Scalar, str]] = []
    for path, node in walk(block):
        if not isinstance(node, Scalar) or path[0] in LIFTED:
            continue
        value = node.value
        if isinstance(value, str):
            new = value
            if path[0] in _PATHS and len(path) == 1:
                parts = value.split(",") if path[0] in LISTS else [value]
                made = path[0] == "output_dir"
                new = ",".join(_moved(part.strip(), recipe, folder, cwd, made=made) for part in parts)
            new = new.replace("${", "\\${")
            if new != value or (not node.quoted and resolve(node.text) != value):
                found.append((node, _scalar(new)))
        elif not node.quoted and not _same(resolve(node.text), value):
            found.append((node, json.dumps(value)))
    return found


def _same(a: object, b: object) -> bool:
    return type(a) is type(b) and a == b


def _moved(value: str, recipe: Recipe, folder: Path, cwd: Path, *, made: bool) -> str:
    """A path as it is written from the recipe's folder; anything else as it is."""
    given = Path(value).expanduser()
    if not value or given.is_absolute():
        return value
    for root in (cwd, recipe.folder.absolute()):
        if (root / given).exists() or made:
            moved = os.path.relpath(root / given, folder)
            return moved if moved.startswith(".") or made else f"./{moved}"
    return value


def _default_registry(recipe: Recipe, cwd: Path) -> Path | None:
    """The `data/` folder in which LLaMA-Factory looks by default."""
    for folder in (cwd / "data", recipe.folder.absolute() / "data"):
        if (folder / FILE).is_file():
            return folder
    return None


def _indented(block: Mapping, text: str, changed: dict[int, str]) -> list[str]:
    """The lines of the file, two blanks further in, without the lifted keys."""
    lines = text.lstrip("\ufeff").splitlines()
    edits: dict[int, list[_Edit]] = {}
    dropped: set[int] = set()
    for _, node in walk(block):
        if isinstance(node, Scalar) and id(node) in changed:
            span = node.span
            if span.line == span.end_line:
                edit = _Edit(span.column - 1, span.end_column - 1, changed[id(node)])
                edits.setdefault(span.line, []).append(edit)
    for key in LIFTED:
        entry = block.entries.get(key)
        if entry is not None:
            dropped.update(range(entry.key_span.line, _last_line(entry, text) + 1))
    found = []
    for number, line in enumerate(lines, 1):
        if number in dropped or re.match(r"(---|\.\.\.|%YAML)(\s|$)", line):
            continue
        for edit in sorted(edits.get(number, ()), key=lambda e: -e.start):
            line = line[: edit.start] + edit.text + line[edit.end :]
        found.append(f"  {line}".rstrip())
    while found and not found[0]:
        found.pop(0)
    return found


def _last_line(entry: Entry, text: str) -> int:
    """The last line of a value; a block list's own end lies at the start of what follows."""
    span: Span = entry.value.span
    last = span.end_line if span.end_column > 1 else span.end_line - 1
    lines = text.splitlines()
    while last > entry.key_span.line and not lines[last - 1].strip():
        last -= 1
    return max(last, entry.key_span.line)


def _flow(block: Mapping, text: str) -> bool:
    """True for a file that is one `{…}`."""
    line = text.splitlines()[block.span.line - 1]
    return line[block.span.column - 1 : block.span.column] == "{"


def _written(node: Node, changed: dict[int, str]) -> str:
    if isinstance(node, Scalar) and id(node) in changed:
        return changed[id(node)]
    return _inline(node)


def _inline(node: Node) -> str:
    """A value on one line."""
    value = plain(node)
    if isinstance(value, str):
        return _scalar(value)
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _scalar(value: str) -> str:
    """Text, quoted where it must be."""
    text: str = yaml.safe_dump(value, width=1_000_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")
