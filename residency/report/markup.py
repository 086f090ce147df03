"""HTML as a tree of tags. Text is escaped unless it is `Markup`, which only this module makes."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*\Z")
_VOID = {"meta", "br", "hr", "input", "link", "img"}
# What XML and HTML cannot hold even when escaped; shown as the replacement character.
_INVALID = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """HTML that is safe to stand as it is."""

    __slots__ = ()


Child = Any
"""A string (escaped), Markup, a number, None (nothing) or an iterable of these."""


def escape(value: object) -> Markup:
    """Text as HTML, for content and for quoted attributes."""
    return Markup(html.escape(_INVALID.sub("\ufffd", str(value)), quote=True))


def join(*children: Child) -> Markup:
    """The children one after the other."""
    return Markup("".join(_flat(children)))


def _flat(children: Iterable[Child]) -> Iterable[str]:
    for child in children:
        if child is None or child is False or child is True:
            continue
        if isinstance(child, Markup):
            yield child
        elif isinstance(child, str | int | float):
            yield escape(child)
        else:
            yield from _flat(child)


def tag(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """`<name …>children</name>`.

    An underscore in an attribute's name is a hyphen, one at its end is dropped (`class_`,
    `data_id`). None and False leave the attribute out, True writes it bare.
    """
    if not _NAME.match(name):
        raise ValueError(f"no name of a tag: {name!r}")
    written = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if not _NAME.match(key) or key.startswith("on"):
            raise ValueError(f"no name of an attribute: {key!r}")
        if value is None or value is False:
            continue
        written.append(f" {key}" if value is True else f' {key}="{escape(value)}"')
    opening = f"<{name}{''.join(written)}>"
    return Markup(opening) if name in _VOID else Markup(f"{opening}{join(*children)}</{name}>")


def raw(trusted: str) -> Markup:
    """Text of this package's own (its style sheet, its script), not escaped."""
    return Markup(trusted)
