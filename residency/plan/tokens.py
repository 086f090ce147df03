"""Tokens in a resolved recipe: what stands for another stage's output, or for a secret."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from residency.recipe.model import TOKEN_CLOSE, TOKEN_OPEN

TOKEN = re.compile(f"{TOKEN_OPEN}([^{TOKEN_CLOSE}]*){TOKEN_CLOSE}")


def stage_output(token: str) -> tuple[str, str] | None:
    """(`sft`, `model`) for the token text `stages.sft.outputs.model`; None for any other token."""
    match = re.fullmatch(r"stages\.(.+)\.outputs\.([^.]+)", token)
    return (match[1], match[2]) if match else None


def secret_name(token: str) -> str | None:
    """`NAME` for the token text `secret:NAME`; None for any other token."""
    return token.removeprefix("secret:") if token.startswith("secret:") else None


def tokens(value: Any) -> Iterator[str]:
    """The text of every token in a value, however deep."""
    if isinstance(value, str):
        yield from TOKEN.findall(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from tokens(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tokens(item)


def replace(value: Any, by: Callable[[str], str]) -> Any:
    """A copy of `value` in which each token is replaced by what `by` gives for its text."""
    if isinstance(value, str):
        return TOKEN.sub(lambda match: by(match[1]), value) if TOKEN_OPEN in value else value
    if isinstance(value, dict):
        return {key: replace(item, by) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace(item, by) for item in value]
    return value
