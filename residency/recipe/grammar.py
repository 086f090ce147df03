"""OmegaConf's interpolation grammar: a text with `${…}` → the value it stands for.

Most texts are simple (`${params.model}`, `${env:HOME,x}/data`) and are read here; all others go
to OmegaConf's own parser, which takes 70 ms to import. Both read the same language, which a
test holds them to.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Any, Protocol

from residency.recipe.nodes import Node, Scalar, Sequence

_NODE = re.compile(r"\$\{ *(\.*[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*) *\}")
_WORD = r"[A-Za-z_][A-Za-z0-9_]*"
_CALL = re.compile(rf"\$\{{ *({_WORD}(?:\.{_WORD})*) *: *({_WORD})(?: *, *({_WORD}))? *\}}")
_NOT_WORDS = frozenset({"null", "true", "false", "inf", "nan"})


class Failed(Exception):
    """An interpolation that has no value."""

    def __init__(
        self, code: str, message: str | None, *, hint: str | None = None, start: int = 0, end: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.start = start
        self.end = end

    @classmethod
    def reported(cls) -> Failed:
        """A failure whose cause has been reported already."""
        return cls("", None)


@dataclass(frozen=True, slots=True)
class Interpolation:
    """One `${…}`: a key, or a resolver with its arguments."""

    key: str
    """The dotted key, with leading dots when it is relative; empty for a resolver."""
    resolver: str | None = None
    arguments: tuple[Any, ...] = ()


class Scope(Protocol):
    """Gives the values that a text asks for."""

    def value(self, asked: Interpolation) -> Node:
        """The value of one interpolation. Raises Failed."""

    def whole(self, node: Node) -> Node:
        """The value of a text that is one interpolation and nothing else."""

    def literal(self, value: Any) -> Node:
        """A value put together from parts."""


def evaluate(text: str, scope: Scope) -> Node:
    """The value of a text with interpolations.

    One interpolation alone keeps its value's type; with text around it becomes text, as
    Python's `str` writes it. Raises Failed, with the place of the interpolation in `text`.
    """
    parts = _simple(text)
    if parts is None:
        return _parsed(text, scope)
    if len(parts) == 1 and not isinstance(parts[0], str):
        return scope.whole(_value(parts[0], scope))
    pieces = []
    for part in parts:
        pieces.append(part if isinstance(part, str) else _text(part, scope))
    return scope.literal("".join(pieces))


@dataclass(frozen=True, slots=True)
class _Placed:
    asked: Interpolation
    start: int
    end: int


def _simple(text: str) -> list[str | _Placed] | None:
    """The parts of a simple text, or None when it needs the full grammar."""
    if "\\" in text or "$$" in text:
        return None
    parts: list[str | _Placed] = []
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at:
            parts.append(text[at:start])
        match = _NODE.match(text, start)
        if match:
            asked = Interpolation(match[1])
        else:
            match = _CALL.match(text, start)
            if match is None:
                return None
            arguments = tuple(word for word in match.groups()[1:] if word is not None)
            if any(word.lower() in _NOT_WORDS for word in arguments):
                return None
            asked = Interpolation("", match[1], arguments)
        at = match.end()
        parts.append(_Placed(asked, start, at))
    if at < len(text):
        parts.append(text[at:])
    return parts


def _value(part: _Placed, scope: Scope) -> Node:
    try:
        return scope.value(part.asked)
    except Failed as failed:
        raise at_place(failed, part.start, part.end) from None


def at_place(failed: Failed, start: int, end: int) -> Failed:
    """The failure with its place, unless it has one."""
    if not failed.end:
        failed.start, failed.end = start, end
    return failed


def _text(part: _Placed, scope: Scope) -> str:
    node = _value(part, scope)
    if isinstance(node, Scalar):
        return str(node.value)
    raise in_text(node, part.start, part.end)


def in_text(node: Node, start: int, end: int) -> Failed:
    """The failure of a list or mapping that has text around it."""
    what = "a list" if isinstance(node, Sequence) else "a mapping"
    return Failed(
        "bad-interpolation",
        f"{what} cannot stand inside a text",
        hint="let the interpolation be the whole value",
        start=start,
        end=end,
    )


def _parsed(text: str, scope: Scope) -> Node:
    """The value of a text, read by OmegaConf's parser."""
    from omegaconf import errors
    from omegaconf.grammar_parser import parse

    from residency.recipe.grammar_visitor import Visitor

    try:
        tree = parse(text)
    except errors.GrammarParseError as error:
        raise _syntax(text, str(error)) from None
    except RecursionError:
        raise Failed("bad-interpolation", "interpolations are nested too deep", end=len(text)) from None
    visitor = Visitor(scope)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # OmegaConf warns of empty arguments, which we take.
            return visitor.value(tree)
    except errors.OmegaConfBaseException as error:
        raise Failed("bad-interpolation", str(error).splitlines()[0], end=len(text)) from None


def _syntax(text: str, said: str) -> Failed:
    """Where a text breaks the grammar, in the user's words."""
    opened: list[int] = []
    at = 0
    while at < len(text):
        if text.startswith("\\", at):
            at += 2
            continue
        if text.startswith("${", at):
            opened.append(at)
            at += 2
            continue
        if text[at] == "{" and opened:
            opened.append(at)
        if text[at] == "}" and opened:
            first = opened.pop()
            if not opened:
                inside = text[first + 2 : at].strip()
                if not inside:
                    return Failed("bad-interpolation", "this interpolation is empty", start=first, end=at + 1)
                if not _well_formed(text[first : at + 1]):
                    return Failed(
                        "bad-interpolation",
                        f"`{text[first : at + 1]}` is no interpolation",
                        hint=_hint(inside),
                        start=first,
                        end=at + 1,
                    )
        at += 1
    if opened:
        return Failed(
            "bad-interpolation",
            "this interpolation is never closed",
            hint="add a `}` where it ends; for the text `${` itself write \\${",
            start=opened[0],
            end=opened[0] + 2,
        )
    return Failed("bad-interpolation", f"this is no interpolation: {said}", end=len(text))


def _well_formed(text: str) -> bool:
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar_parser import parse

    try:
        parse(text)
    except GrammarParseError:
        return False
    return True


def _hint(inside: str) -> str:
    if re.fullmatch(r"[\w.]+:-.*", inside):
        return "a default follows a comma: ${env:NAME,default}"
    if re.fullmatch(r"[\w.]+\s*\|.*|[\w.]+\s*[+*/-].*", inside):
        return "an interpolation takes a key or a resolver, no expression"
    return "write ${a.key}, ${resolver:argument}, or \\${ for the text itself"
