"""The types of verl's dataclass fields, read from its source without importing it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FOLDERS = ("workers/config", "trainer/config", "utils/profiler", "utils/qat", "experimental")
_NAMES = {
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "str": "string",
    "dict": "object",
    "Dict": "object",
    "DictConfig": "object",
    "list": "array",
    "List": "array",
    "ListConfig": "array",
    "tuple": "array",
    "Tuple": "array",
    "None": "null",
}


@dataclass(frozen=True, slots=True)
class Types:
    """What an annotation allows."""

    names: frozenset[str] = frozenset()
    choices: tuple[Any, ...] = ()
    anything: bool = False


@dataclass(slots=True)
class Annotations:
    """The annotated fields of every dataclass in verl's configuration modules."""

    package: Path
    classes: dict[str, ast.ClassDef] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for folder in _FOLDERS:
            for path in sorted((self.package / folder).rglob("*.py")):
                for node in ast.parse(path.read_text(encoding="utf-8")).body:
                    if isinstance(node, ast.ClassDef):
                        self.classes.setdefault(node.name, node)

    def fields(self, name: str) -> dict[str, Types]:
        """Field → types of a class, inherited ones included; empty for an unknown class."""
        cls = self.classes.get(name)
        if cls is None:
            return {}
        found: dict[str, Types] = {}
        for base in reversed(cls.bases):
            if isinstance(base, ast.Name) and base.id != name:
                found.update(self.fields(base.id))
        for node in cls.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found[node.target.id] = self._types(node.annotation)
        return found

    def _types(self, node: ast.expr) -> Types:
        """The types of one annotation."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                return self._types(ast.parse(node.value, mode="eval").body)
            return Types(frozenset({"null"}))
        if isinstance(node, ast.BinOp):
            return _union([self._types(node.left), self._types(node.right)])
        if isinstance(node, ast.Subscript):
            head = _last(node.value)
            inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            if head == "Optional":
                return _union([self._types(inside[0]), Types(frozenset({"null"}))])
            if head == "Union":
                return _union([self._types(part) for part in inside])
            if head == "Literal":
                return Types(choices=tuple(part.value for part in inside if isinstance(part, ast.Constant)))
            return Types(frozenset({_NAMES[head]})) if head in _NAMES else Types(anything=True)
        name = _last(node)
        if name in _NAMES:
            return Types(frozenset({_NAMES[name]}))
        # A dataclass of verl's own is a block; anything else (Any, Callable) takes any value.
        return Types(frozenset({"object"})) if name in self.classes else Types(anything=True)


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _union(parts: list[Types]) -> Types:
    if any(part.anything for part in parts):
        return Types(anything=True)
    names = frozenset().union(*(part.names for part in parts))
    return Types(names, tuple(choice for part in parts for choice in part.choices))
