"""Arithmetic for models: a parsed expression is walked, nothing is ever evaluated as Python."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable

Number = int | float

LONGEST = 500
"""Characters of an expression."""
DEEPEST = 60
"""Nested operations."""
BITS = 4096
"""Size of a whole number, about 1,233 digits: what is larger takes long and helps no one."""

_BINARY: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Number], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e}
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "abs": (abs, 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "exp": (math.exp, 1, 1),
    "ln": (math.log, 1, 1),
    "log": (math.log, 1, 2),
    "log2": (math.log2, 1, 1),
    "log10": (math.log10, 1, 1),
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
    "tan": (math.tan, 1, 1),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "round": (round, 1, 2),
    "min": (min, 1, 20),
    "max": (max, 1, 20),
}
"""Name → the function, and the least and the most arguments that it takes."""

_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-"})


def calculate(expression: str) -> str:
    """Work out an arithmetic expression and return the number.

    Args:
        expression: What to work out, for example "(118 - 95) / 118 * 100" or "sqrt(2) * 3 ** 2".
            It may use + - * / // % ** and parentheses, the constants pi and e, and the functions
            sqrt, exp, ln, log, log2, log10, sin, cos, tan, abs, round, floor, ceil, min, max.
    """
    text = str(expression).translate(_SIGNS).replace("^", "**").strip().rstrip("=").strip()
    if not text:
        raise ValueError("the expression is empty")
    if len(text) > LONGEST:
        raise ValueError(f"the expression is longer than {LONGEST} characters")
    try:
        parsed = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(f"{_short(text)} is not an arithmetic expression") from None
    try:
        return _shown(_value(parsed.body, 0))
    except ZeroDivisionError:
        raise ValueError("division by zero") from None
    except OverflowError:
        raise ValueError("the result is too large") from None


def _value(node: ast.expr, depth: int) -> Number:
    """The value of a part of the expression."""
    if depth > DEEPEST:
        raise ValueError(f"the expression is nested more than {DEEPEST} deep")
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _bounded(node.value)
    if isinstance(node, ast.Name) and node.id in _CONSTANTS:
        return _CONSTANTS[node.id]
    if isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        return _UNARY[type(node.op)](_value(node.operand, depth + 1))
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, depth + 1), _value(node.right, depth + 1)
        if isinstance(node.op, ast.Pow):
            return _power(left, right)
        if type(node.op) in _BINARY:
            return _bounded(_BINARY[type(node.op)](left, right))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return _call(node.func.id, [_value(argument, depth + 1) for argument in node.args])
    if isinstance(node, ast.Tuple):
        raise ValueError("a comma stands where none can; write 1200 rather than 1,200")
    name = node.id if isinstance(node, ast.Name) else ast.unparse(node)
    raise ValueError(f"{_short(name)} is not arithmetic")


def _power(base: Number, exponent: Number) -> Number:
    """`base ** exponent`, refused before it is worked out when it would be huge."""
    if isinstance(base, int) and isinstance(exponent, int):
        if exponent >= 0 and base.bit_length() * exponent > BITS and base not in (-1, 0, 1):
            raise OverflowError
        if exponent < 0:
            base = float(base)
    found = base**exponent
    if isinstance(found, complex):
        raise ValueError("a root of a negative number is not a real number")
    return _bounded(found)


def _call(name: str, values: list[Number]) -> Number:
    if name not in _FUNCTIONS:
        raise ValueError(f"there is no function {_short(name)}; known: {', '.join(_FUNCTIONS)}")
    function, least, most = _FUNCTIONS[name]
    if not least <= len(values) <= most:
        wanted = "one number" if most == 1 else f"{least} to {most} numbers"
        raise ValueError(f"{name} takes {wanted}, not {len(values)}")
    # A whole number rounded to -10**9 places would take all memory.
    if name == "round" and len(values) == 2 and not (isinstance(values[1], int) and abs(values[1]) <= 300):
        raise ValueError("round takes a whole number of places, at most 300")
    try:
        return _bounded(function(*values))
    except ValueError:
        raise ValueError(f"{name}({', '.join(_shown(v) for v in values)}) is not defined") from None


def _bounded(value: Number) -> Number:
    if isinstance(value, int):
        if value.bit_length() > BITS:
            raise OverflowError
    elif not math.isfinite(value):
        raise OverflowError
    return value


def _shown(value: Number) -> str:
    """A number as people write it: 12 significant digits, no trailing zeros."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return str(value) if isinstance(value, int) else f"{value:.12g}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
