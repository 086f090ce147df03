"""Entries of `sources:`, checked for every kind that has them."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Scalar, plain
from residency.recipe.tokens import is_known
from residency.sources import spec

# The schema says these with its own codes.
_OF_THE_SCHEMA = {"sha256", "bytes", "unpack"}


def local(url: str, folder: Path) -> Path:
    """The path of a source on this disk."""
    return folder / Path(url.removeprefix("file://").removeprefix("file:")).expanduser()


def check_source(tree: Tree, folder: Path, found: Diagnostics, *, fixed: bool = False) -> None:
    """What is wrong with one source.

    Args:
        tree: The source.
        folder: Where a relative path starts.
        found: Takes the diagnostics.
        fixed: Something else than `sha256` says which version is meant.
    """
    if not all(is_known(item.value) for item in tree.entries.values()):
        return
    value = plain(tree)
    wrong = spec.problems(value)
    for key, text in wrong:
        if key in _OF_THE_SCHEMA or (key == "kind" and "must be" in text):
            continue
        node = tree.get(key)
        if node is None or not isinstance(node, Scalar) or not isinstance(node.value, str):
            continue  # missing, or of a type that the schema has refused
        said = f"`{key}` {text}"
        if key == "url":
            found.add("bad-url", said, node)
        elif key == "member" and not value.get("unpack"):
            found.add("bad-glob", said, node)
        else:
            found.add("conflicting-keys", said, node)
    url = tree.get("url")
    if any(key == "url" for key, _ in wrong) or not isinstance(url, Scalar):
        return
    scheme = spec.scheme(url.value)
    if scheme == "file" and not local(url.value, folder).exists():
        found.add(
            "missing-file", f"{url.value} is not there", url, hint=f"a relative path starts at {folder}"
        )
    host = urlsplit(url.value).hostname or "" if scheme in ("https", "http") else ""
    if host and not fixed and not value.get("sha256"):
        found.add(
            "no-sha256",
            f"nothing says which version of this file is meant: {host} may send another one tomorrow",
            url,
            severity="warning",
            hint="add `sha256:`; the first run's report.json has it",
        )
