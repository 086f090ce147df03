"""The comments above the keys of verl's configuration files, by the key's full path."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

_KEY = re.compile(r"^(\s*)([A-Za-z_]\w*):(?:\s|$)")
_ENGINE = "dp"
"""The `model_engine` whose files make `_generated_ppo_trainer.yaml`."""


def comments(config: Path, name: str, under: str = "") -> dict[str, str]:
    """Dotted path → comment, for a file of Hydra configuration and those in its `defaults`.

    Args:
        config: verl's `trainer/config` folder.
        name: the file, relative to it.
        under: the path at which the file's keys are placed.
    """
    path = config / name
    text = path.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for file, place in _defaults(config, path, text):
        found.update(comments(config, file, f"{under}.{place}".strip(".")))
    found.update({f"{under}.{key}".strip("."): words for key, words in _own(text).items()})
    return found


def _defaults(config: Path, path: Path, text: str) -> list[tuple[str, str]]:
    """(file, place) of each entry of `defaults`, such as `actor` or `../optim@optim: fsdp`."""
    entries = (yaml.safe_load(text) or {}).get("defaults", [])
    found: list[tuple[str, str]] = []
    for entry in entries:
        if isinstance(entry, str):
            group, place, option = "", "", entry
        else:
            ((key, option),) = entry.items()
            group, _, place = key.partition("@")
            if "@" not in key:
                continue  # a choice by itself (`model_engine: dp`), which places nothing
        file = path.parent / group / (str(option).replace("${model_engine}", _ENGINE) + ".yaml")
        if entry != "_self_" and file.is_file():
            found.append((str(file.resolve().relative_to(config.resolve())), place))
    return found


def _own(text: str) -> dict[str, str]:
    """Dotted path → comment, of one file. verl keeps each comment on the lines above its key."""
    found: dict[str, str] = {}
    above: list[str] = []
    stack: list[tuple[int, str]] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            above.append(stripped.lstrip("# ").rstrip())
            continue
        match = _KEY.match(line)
        if match:
            indent = len(match[1])
            while stack and stack[-1][0] >= indent:
                stack.pop()
            stack.append((indent, match[2]))
            words = " ".join(part for part in above if part)
            if words:
                found[".".join(key for _, key in stack)] = words
        above = []
    return found
