"""What the shell makes of texts: cut values (`${NAME##*/}`), sums (`$((1024 * 2))`)."""

from __future__ import annotations

import ast
import fnmatch
import operator as op
import re

_NUMBER = re.compile(r"[0-9()+\-*/% ]+")


def cut(text: str, sign: str, pattern: str) -> str:
    """`${NAME%suffix}`, `${NAME##*/}`, `${NAME/a/b}`, `${NAME,,}`."""
    if sign in ("##", "#"):
        ends = range(len(text), -1, -1) if sign == "##" else range(len(text) + 1)
        return next((text[end:] for end in ends if fnmatch.fnmatchcase(text[:end], pattern)), text)
    if sign in ("%%", "%"):
        starts = range(len(text) + 1) if sign == "%%" else range(len(text), -1, -1)
        return next((text[:start] for start in starts if fnmatch.fnmatchcase(text[start:], pattern)), text)
    if sign in ("/", "//"):
        old, _, new = pattern.partition("/")
        return text.replace(old, new, -1 if sign == "//" else 1) if old else text
    if sign in (",", ",,"):
        return text.lower() if sign == ",," else text[:1].lower() + text[1:]
    if sign in ("^", "^^"):
        return text.upper() if sign == "^^" else text[:1].upper() + text[1:]
    return text


def calculate(text: str) -> int | None:
    """The value of an expression in whole numbers, or None."""
    if not _NUMBER.fullmatch(text.strip()) or len(text) > 200:
        return None
    try:
        return _evaluate(ast.parse(text.strip().replace("/", "//").replace("////", "//"), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, TypeError, MemoryError, RecursionError):
        return None


def _evaluate(node: object) -> int:
    actions = {
        ast.Add: op.add,
        ast.Sub: op.sub,
        ast.Mult: op.mul,
        ast.FloorDiv: op.floordiv,
        ast.Mod: op.mod,
    }
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in actions:
        result = actions[type(node.op)](_evaluate(node.left), _evaluate(node.right))
        assert isinstance(result, int)
        return result
    raise ValueError("not a calculation")
