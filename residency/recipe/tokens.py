"""Tokens: what stands in a resolved recipe for a value that is not known yet.

`⟦stages.sft.outputs.model⟧` is known when another stage has its place, `⟦services.retriever.url⟧`
when the service has started, `⟦secret:NAME⟧` is never written down. See `residency.recipe.model`
for the brackets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from residency.recipe.model import TOKEN_CLOSE, TOKEN_OPEN, Reference
from residency.recipe.nodes import Node, Path, Scalar, walk

_TOKEN = re.compile(f"{TOKEN_OPEN}([^{TOKEN_OPEN}{TOKEN_CLOSE}]*){TOKEN_CLOSE}")


class Unresolved(str):
    """The text of a value that nobody knows, since a mistake in it has been reported.

    It holds `${`, and its scalar is not `literal`; `Resolver` leaves it as it is.
    """

    __slots__ = ()


def unknown(text: str = "") -> Unresolved:
    """The text of an unknown value, for a mistake that is no interpolation."""
    return Unresolved("${" + text + "}")


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
        name, _, key = body.removeprefix("services.").rpartition(".")
        return "service", (name, key)
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


def bodies(value: object) -> Iterator[str]:
    """The body of every token in plain values, however deep."""
    if isinstance(value, str):
        yield from _TOKEN.findall(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from bodies(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from bodies(item)


def replace(value: Any, by: Callable[[str], str]) -> Any:
    """A copy of plain values in which each token is replaced by what `by` gives for its body."""
    if isinstance(value, str):
        return _TOKEN.sub(lambda match: by(match[1]), value) if TOKEN_OPEN in value else value
    if isinstance(value, dict):
        return {key: replace(item, by) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace(item, by) for item in value]
    return value
