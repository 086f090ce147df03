"""Tokens: what stands in a resolved recipe for a value that is not known yet.

`⟦stages.sft.outputs.model⟧` is known when another stage has its place, `⟦secret:NAME⟧` is
never written down. See `residency.recipe.model` for the brackets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from residency.recipe.model import TOKEN_CLOSE, TOKEN_OPEN, Reference
from residency.recipe.nodes import Node, Path, Scalar, walk

_TOKEN = re.compile(f"{TOKEN_OPEN}([^{TOKEN_OPEN}{TOKEN_CLOSE}]*){TOKEN_CLOSE}")


def make(body: str) -> str:
    """The token with that body: `secret:NAME`, `stages.sft.outputs.model`."""
    return f"{TOKEN_OPEN}{body}{TOKEN_CLOSE}"


def reserved(text: str) -> bool:
    """True when a text written by a user holds a bracket that only tokens may have."""
    return TOKEN_OPEN in text or TOKEN_CLOSE in text


def parse(body: str) -> tuple[str, tuple[str, ...]]:
    """The kind and target of a token's body, as in `Reference`."""
    if body.startswith("secret:"):
        return "secret", (body.removeprefix("secret:"),)
    if body.startswith("stages."):
        stage, _, output = body.removeprefix("stages.").partition(".outputs.")
        return "stage", (stage, output)
    if body.startswith("services."):
        return "service", tuple(body.removeprefix("services.").split("."))
    return "loop", tuple(body.removeprefix("loop.").split("."))


def found_in(text: object) -> list[tuple[str, tuple[str, ...]]]:
    """The kind and target of every token in a value; none for what is not text."""
    if not isinstance(text, str) or TOKEN_OPEN not in text:
        return []
    return [parse(match[1]) for match in _TOKEN.finditer(text)]


def references(tree: Node, path: Path = ()) -> Iterator[Reference]:
    """Every token below `tree`, in the order of the text."""
    for where, node in walk(tree, path):
        if isinstance(node, Scalar):
            for kind, target in found_in(node.value):
                yield Reference(kind, target, where, node.span)


def is_known(node: Node) -> bool:
    """False for a scalar whose value cannot be checked: it holds a token, or was not resolved.

    A scalar that could not be resolved keeps its text, with `${`, and is not `literal`; the
    mistake has been reported. A list or mapping is known, whatever its parts are.
    """
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return True
    return TOKEN_OPEN not in node.value and (node.literal or "${" not in node.value)
