"""The text of an imported recipe."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from residency.engines.verl import places, tree
from residency.engines.verl.importing.keys import Translated

_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_PATHS = (*places.PATH_KEYS, *places.FILE_KEYS)
WIDTH = 110


class _Dumper(yaml.SafeDumper):
    """Writes short lists on one line, and floats as `1.0e-06` is read: a number."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists stand two blanks further in."""
        return super().increase_indent(flow, False)


def _float(dumper: yaml.SafeDumper, value: float) -> yaml.ScalarNode:
    text = repr(value)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    if value != value or value in (float("inf"), float("-inf")):
        return yaml.SafeDumper.represent_float(dumper, value)
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _list(dumper: yaml.SafeDumper, value: list[Any]) -> yaml.SequenceNode:
    flow = all(not isinstance(item, dict | list) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=flow)


_Dumper.add_representer(float, _float)
_Dumper.add_representer(list, _list)


def recipe(
    *,
    script: Path,
    out: Path,
    cwd: Path,
    schema: Path,
    found: Translated,
    params: Mapping[str, str],
    env: Mapping[str, str],
    notes: Sequence[str],
    todo: Sequence[str],
) -> str:
    """The recipe's text.

    Args:
        script: The script, for its name.
        out: Where the recipe will stand.
        cwd: Where the script's paths start.
        schema: `recipe.schema.json`.
        found: The recipe's keys.
        params: Parameter → what it stands for.
        env: Environment variables.
        notes: What was changed, for the head.
        todo: What is to be filled in, for the head.
    """
    folder = out.absolute().parent

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        return _moved(value, folder, cwd, script.absolute().parent)

    lines = [
        f"# yaml-language-server: $schema={os.path.relpath(schema, folder)}",
        f"# From {script.name}, a launch script of verl.",
    ]
    lines += _listed("To fill in:", todo) + _listed("Changed:", notes)
    lines += ["kind: rlvr", f"name: {_NAME.sub('-', script.stem).strip('-.') or 'imported'}"]
    top: dict[str, Any] = {}
    if params:
        top["params"] = {name: {"type": "any", "description": what} for name, what in params.items()}
    if "resources" in found.top:
        top["resources"] = found.top["resources"]
    if env:
        top["env"] = dict(env)
    for key in ("dataset", "eval_dataset"):
        if key in found.top:
            top[key] = moved(found.top[key])
    top |= {key: found.top[key] for key in ("rows", "rewards", "gold_check") if key in found.top}
    flat = {name: moved(value) if name in _PATHS else value for name, value in found.verl.items()}
    try:
        top["verl"] = tree.nest(flat)
    except ValueError:
        top["verl"] = flat
    for key, value in top.items():
        lines.append(dump({key: value}))
    return "\n".join(lines).rstrip() + "\n"


def dump(value: Mapping[str, Any]) -> str:
    """YAML text without a final newline."""
    text: str = yaml.dump(
        dict(value),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=WIDTH,
        default_flow_style=False,
    )
    return text.rstrip("\n")


def _listed(title: str, items: Sequence[str]) -> list[str]:
    """Comment lines."""
    if not items:
        return []
    lines = ["#", f"# {title}"]
    for item in items:
        wrapped = textwrap.wrap(
            " ".join(item.split()), WIDTH - 6, break_long_words=False, break_on_hyphens=False
        )
        lines += [f"#   {'- ' if n == 0 else '  '}{line}" for n, line in enumerate(wrapped)]
    return lines


def _moved(value: Any, folder: Path, *starts: Path) -> Any:
    """A relative path that is there, as it is written from the recipe's folder; anything else as it is."""
    if not isinstance(value, str) or not value or "${" in value or value.startswith(("/", "~")):
        return value
    for start in starts:
        if (start / value).exists():
            made = os.path.relpath(start / value, folder)
            return made if made.startswith(".") else f"./{made}"
    return value
