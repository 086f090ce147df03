"""A `llamafactory:` block as the rules read it: values with LLaMA-Factory's defaults, and places."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.engines.base import CheckContext
from residency.recipe import kind_schema
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Mapping, Node, Scalar, Sequence, Span, plain
from residency.recipe.tokens import Unresolved
from residency.recipe.values import unresolved


@dataclass(slots=True)
class View:
    """One recipe and what the rules find in it."""

    recipe: Recipe
    block: Mapping
    context: CheckContext
    found: Diagnostics

    def __contains__(self, key: str) -> bool:
        """True when the block gives the key a value."""
        return plain_or_none(self.block.get(key)) is not None

    def get(self, key: str) -> Any:
        """The value of a key: what is written, or LLaMA-Factory's default; None when unknown yet."""
        node = self.block.get(key)
        return self.default(key) if node is None or unresolved(node) else plain(node)

    def default(self, key: str) -> Any:
        """LLaMA-Factory's default."""
        return _properties().get(key, {}).get("default")

    def on(self, key: str) -> bool:
        """True when a switch is on; a value of another type is the schema's business."""
        return self.get(key) is True

    def number(self, key: str) -> float | None:
        """A number, or None when it is none."""
        value = self.get(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def stage(self) -> str:
        """pt, sft, rm, ppo, dpo or kto."""
        return str(self.get("stage"))

    @property
    def method(self) -> str:
        """lora, oft, freeze or full."""
        return str(self.get("finetuning_type"))

    @property
    def on_cpu(self) -> bool:
        """True when training would happen without a GPU."""
        gpus = self.asked_gpus
        if self.on("use_cpu") or gpus == 0:
            return True
        return self.context.gpus == 0 and not gpus

    @property
    def asked_gpus(self) -> Any:
        """What the recipe says under `resources: {gpus: …}`, or None."""
        asked = self.recipe.tree.get("resources")
        return plain_or_none(asked.get("gpus")) if isinstance(asked, Mapping) else None

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where relative paths may start, first come first served."""
        own, project, cwd = self.recipe.folder.absolute(), self.context.project, self.context.cwd
        return (cwd, own, project) if self.recipe.plain_llamafactory else (own, project, cwd)

    def find(self, value: str) -> Path | None:
        """An existing file or folder, or None."""
        for root in self.roots:
            path = root / Path(value).expanduser()
            if path.exists():
                return path.absolute()
        return None

    def key(self, key: str) -> Span:
        """Where a key is written; the block's own key when it is not."""
        entry = self.block.entries.get(key)
        if entry is not None:
            return entry.key_span
        above = self.recipe.tree.entries.get("llamafactory")
        return above.key_span if above is not None else self.block.span

    def place(self, key: str) -> Node | Span:
        """Where a key's value is written."""
        node = self.block.get(key)
        return self.key(key) if node is None or isinstance(node, Mapping) else node

    def error(
        self, code: str, message: str, where: Node | Span, hint: str | None = None, beside: Iterable[str] = ()
    ) -> None:
        """An error; `beside` names other keys that matter."""
        self.found.add(code, message, where, hint=hint, notes=self._notes(beside))

    def warn(
        self, code: str, message: str, where: Node | Span, hint: str | None = None, beside: Iterable[str] = ()
    ) -> None:
        """A warning."""
        self.found.add(code, message, where, hint=hint, severity="warning", notes=self._notes(beside))

    def conflict(self, key: str, other: str, message: str, hint: str | None = None) -> None:
        """Two keys that exclude each other: said at `key`, with a note at `other`."""
        self.error("conflicting-keys", message, self.place(key), hint, beside=(other,))

    def needs_package(self, key: str, *modules: str) -> bool:
        """Say so when `key` needs a package that is not installed; True when all are there."""
        missing = [module for module in modules if not installed(module)]
        if not missing:
            return True
        names = ", ".join(f"`{name}`" for name in missing)
        install = " ".join(PIP.get(name, name) for name in missing)
        self.error(
            "missing-package",
            f"`{key}` needs {names}, which is not installed",
            self.place(key),
            f"pip install {install}",
        )
        return False

    def _notes(self, beside: Iterable[str]) -> list[tuple[str, Span]]:
        return [(f"`{key}` stands here", self.key(key)) for key in beside if key in self.block.entries]


PIP = {
    "rouge_chinese": "rouge-chinese",
    "galore_torch": "galore-torch",
    "apollo_torch": "apollo-torch",
    "adam_mini": "adam-mini",
    "liger_kernel": "liger-kernel",
    "comet_ml": "comet-ml",
    "MoD": "mixture-of-depth",
}
"""Module → distribution, where the two differ."""


def plain_or_none(node: Node | None) -> Any:
    """The plain value, or None for no node."""
    return None if node is None else plain(node)


def known(value: Any) -> bool:
    """False for text that holds a token, whose value is known only later."""
    return bool(
        isinstance(value, str) and value and TOKEN_OPEN not in value and not isinstance(value, Unresolved)
    )


def names(node: Node | None) -> list[tuple[str, Node | Span]]:
    """The entries of a list that may be written `a, b` or [a, b], each with its place."""
    if isinstance(node, Sequence):
        return [
            (item.value, item)
            for item in node.items
            if isinstance(item, Scalar) and isinstance(item.value, str)
        ]
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return []
    found: list[tuple[str, Node | Span]] = []
    at = 0
    for part in node.value.split(","):
        name = part.strip()
        if name:
            start = at + len(part) - len(part.lstrip())
            found.append((name, _within(node, start, len(name))))
        at += len(part) + 1
    return found


def _within(node: Scalar, start: int, length: int) -> Node | Span:
    """The span of a part of a text; the node itself where the columns would not be right."""
    span = node.span
    width = span.end_column - span.column
    quotes = 2 if node.quoted else 0
    if node.via is not None or span.line != span.end_line or width != len(node.value) + quotes:
        return node
    if length == len(node.value):
        return node
    column = span.column + quotes // 2 + start
    return Span(span.file, span.line, column, span.line, column + length)


@functools.cache
def installed(module: str) -> bool:
    """True when a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@functools.cache
def _properties() -> dict[str, Any]:
    found: dict[str, Any] = kind_schema.engine("llamafactory").get("properties", {})
    return found
