"""What an unquoted YAML scalar means: YAML 1.2's core schema, and what LLaMA-Factory sees.

The rules of YAML 1.2 are chapter 10.3.2 of its specification. LLaMA-Factory reads its own
files through OmegaConf, which follows YAML 1.1 but takes `1e-5` as a number; a plain
LLaMA-Factory YAML is read in the same way so that it means the same here and there.
"""

from __future__ import annotations

import re

Plain = str | int | float | bool | None

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_NAN = frozenset({".nan", ".NaN", ".NAN"})
_FIRST = frozenset("-+.0123456789~nNtTfF")
"""What a scalar that is no string starts with; most strings are told by it at once."""

_BOOL_11 = {
    **_BOOL,
    **{word: True for base in ("yes", "on") for word in (base, base.capitalize(), base.upper())},
    **{word: False for base in ("no", "off") for word in (base, base.capitalize(), base.upper())},
}
_INT_11 = re.compile(
    r"[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+"
    r"|[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+"
)
_FLOAT_11 = re.compile(
    r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?[0-9]+(?:_[0-9]+)*(?:\.[0-9_]*)?[eE][-+]?[0-9]+"
    r"|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def resolve(text: str) -> Plain:
    """The value of an unquoted scalar by YAML 1.2's core schema.

    `on`, `yes`, `1_000`, `12:30` and `2024-01-01` are strings; `1e-6` is a number.
    """
    if text and text[0] not in _FIRST:
        return text
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    try:
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _OCTAL.fullmatch(text):
            return int(text[2:], 8)
        if _HEX.fullmatch(text):
            return int(text[2:], 16)
    except ValueError:
        return text  # Python refuses integers of more than 4,300 digits.
    if _INFINITY.fullmatch(text):
        return float(text.replace(".", "", 1))
    return float("nan") if text in _NAN else text


def resolve_as_llamafactory(text: str) -> Plain:
    """The value of an unquoted scalar in a file that LLaMA-Factory reads: YAML 1.1, `1e-5` a number."""
    if text in _NULL:
        return None
    if text in _BOOL_11:
        return _BOOL_11[text]
    try:
        if _FLOAT_11.fullmatch(text):
            return _float_11(text.replace("_", "").lower())
        if _INT_11.fullmatch(text):
            return _int_11(text.replace("_", ""))
    except ValueError:
        pass
    return text


def _int_11(text: str) -> int:
    """An integer of YAML 1.1: binary, octal with a leading 0, hexadecimal, base 60."""
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-")
    if ":" in digits:
        total = 0
        for part in digits.split(":"):
            total = total * 60 + int(part)
        return sign * total
    if digits[:2] == "0b":
        return sign * int(digits[2:], 2)
    if digits[:2] == "0x":
        return sign * int(digits[2:], 16)
    if digits[0] == "0" and len(digits) > 1:
        return sign * int(digits, 8)
    return sign * int(digits)


def _float_11(text: str) -> float:
    """A number of YAML 1.1, given without `_` and in lower case."""
    sign = -1.0 if text[0] == "-" else 1.0
    digits = text.lstrip("+-")
    if digits == ".inf":
        return sign * float("inf")
    if digits == ".nan":
        return float("nan")
    if ":" in digits:
        total = 0.0
        for part in digits.split(":"):
            total = total * 60 + float(part)
        return sign * total
    return sign * float(digits)
