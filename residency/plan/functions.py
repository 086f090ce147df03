"""The source code behind a dotted path, hashed without importing it.

The hash covers the module's file and every module that it imports, directly or not, from
the packages whose code belongs to a recipe (`rewards`, `processors`, those given by `--trust`).
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

RECIPE_PACKAGES = ("rewards", "processors")


def module_file(dotted: str, roots: tuple[Path, ...]) -> Path | None:
    """The file of the longest leading part of `dotted` that is a module below one of `roots`."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        for root in roots:
            base = root.joinpath(*parts[:end])
            for candidate in (base.with_suffix(".py"), base / "__init__.py"):
                if candidate.is_file():
                    return candidate
    return None


def _imports(source: str, package: str) -> Iterator[str]:
    """The dotted names that a module's source imports, relative ones made absolute."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, base]) if base else ".".join(parents)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def source_hash(dotted: str, roots: tuple[Path, ...], packages: tuple[str, ...] = RECIPE_PACKAGES) -> str:
    """The SHA-256 of the code behind `dotted` (64 hex digits); `missing` when no file is found."""
    pending, files = [dotted], dict[Path, bytes]()
    while pending:
        name = pending.pop()
        found = module_file(name, roots)
        if found is None or found in files:
            continue
        files[found] = found.read_bytes()
        root = next(root for root in roots if found.is_relative_to(root))
        package = ".".join(found.relative_to(root).parent.parts)
        for imported in _imports(files[found].decode("utf-8", "replace"), package):
            if imported.split(".")[0] in packages:
                pending.append(imported)
    if not files:
        return "missing"
    digest = hashlib.sha256(dotted.encode())
    for path in sorted(files):
        digest.update(hashlib.sha256(files[path]).digest())
    return digest.hexdigest()
