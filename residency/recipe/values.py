"""What a value is, what it was meant to be, and how to write it: the words of a type error."""

from __future__ import annotations

import math
import re
from typing import Any

from residency.recipe.model import TOKEN_CLOSE, TOKEN_OPEN
from residency.recipe.nodes import Mapping, Node, Scalar, Sequence
from residency.recipe.tokens import Unresolved

NOUNS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a block of keys",
    "null": "empty",
}

_TRUE = {"yes", "y", "on", "true", "1", "enable", "enabled"}
_FALSE = {"no", "n", "off", "false", "0", "disable", "disabled"}
_UNITS = {"k": 1_000, "m": 1_000_000, "g": 1_000_000_000, "b": 1_000_000_000}


def later(node: Node) -> bool:
    """True for text whose value is known only later: a token, or an interpolation not yet resolved."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return False
    return (TOKEN_OPEN in node.value and TOKEN_CLOSE in node.value) or unresolved(node)


def unresolved(node: Node) -> bool:
    """True for an interpolation not yet resolved, whose type nobody knows."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return False
    return isinstance(node.value, Unresolved) or (not node.literal and "${" in node.value)


def type_of(node: Node) -> str:
    """The JSON type of a node; `integer` for whole numbers, `number` for the others."""
    if isinstance(node, Mapping):
        return "object"
    if isinstance(node, Sequence):
        return "array"
    value = node.value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"


def fits(node: Node, types: tuple[str, ...]) -> bool:
    """True when the node is of one of the types."""
    found = type_of(node)
    return found in types or (found == "integer" and "number" in types)


def as_number(text: str) -> float | None:
    """The number that a text was meant to be: `1e-6`, `1,000`, `4k`, `10^-5`, `1/3`, `5 %`; or None."""
    plain = text.strip().lower().replace("_", "").replace("−", "-").rstrip(",;")
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+", plain):
        plain = plain.replace(",", "")
    try:
        value = float(plain)
        return value if math.isfinite(value) else None
    except ValueError:
        pass
    if match := re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*([kmgb])", plain):
        return float(match[1]) * _UNITS[match[2]]
    if match := re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*%", plain):
        return float(match[1]) / 100
    if match := re.fullmatch(r"(?:(\d+(?:\.\d+)?)\s*[*x×]\s*)?10\s*(?:\^|\*\*)\s*([+-]?\d{1,3})", plain):
        try:
            return float(f"{match[1] or 1}e{match[2]}")
        except ValueError:
            return None
    if match := re.fullmatch(r"(\d{1,15})\s*/\s*([1-9]\d{0,14})", plain):
        return int(match[1]) / int(match[2])
    return None


def as_boolean(value: Any) -> bool | None:
    """The truth value that a text or number was meant to be: `yes`, `off`, 1; or None."""
    word = str(value).strip().lower()
    return True if word in _TRUE else False if word in _FALSE else None


def show(value: Any, limit: int = 60) -> str:
    """A scalar as a recipe writes it: true, null, 1.0e-06, text as it is, cut when long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value).replace("\n", "\\n")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def nouns(types: tuple[str, ...]) -> str:
    """`a number or text` for ("number", "string"); `empty` comes last and only when alone."""
    named = [t for t in types if t != "null"] or list(types)
    if "number" in named and "integer" in named:
        named.remove("integer")
    words = [NOUNS[t] for t in named]
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " or " + words[-1]


def mismatch(name: str, node: Node, types: tuple[str, ...]) -> tuple[str, str | None]:
    """The sentence and the hint for a value of the wrong type."""
    return f"`{name}` must be {nouns(types)}, not {_found(node)}", _hint(name, node, types)


def _found(node: Node) -> str:
    if isinstance(node, Mapping):
        return "a block of keys"
    if isinstance(node, Sequence):
        return "a list"
    if node.value is None:
        return "empty"
    if isinstance(node.value, str):
        return f"the text `{show(node.value)}`"
    return f"`{node.text or show(node.value)}`"


def _hint(name: str, node: Node, types: tuple[str, ...]) -> str | None:
    last = name.rsplit(".", 1)[-1]
    key = "- " if last.endswith("]") else f"{last}: "
    if isinstance(node, Mapping):
        return f"write the value on the same line: `{key}…`" if "object" not in types else None
    if isinstance(node, Sequence):
        if len(node.items) == 1 and isinstance(node.items[0], Scalar) and fits(node.items[0], types):
            return f"write it without the list: `{key}{show(node.items[0].value)}`"
        return None
    value = node.value
    if value is None:
        if "object" in types:
            return f"`{name}:` has nothing under it; indent its keys below it, or leave it out"
        return "give a value, or leave the key out"
    if isinstance(value, str):
        return _hint_text(key, value, node.quoted, types)
    if "array" in types and not isinstance(value, bool):
        return f"write it as a list: `{key}[{show(value)}]`"
    if "boolean" in types and (meant := as_boolean(value)) is not None:
        return f"write `{key}{show(meant)}`"
    if "string" in types:
        return f'put it in quotes: `{key}"{node.text or show(value)}"`'
    if "integer" in types and isinstance(value, float):
        if math.isfinite(value) and value == int(value):
            return f"write `{key}{int(value)}`"
        return "give a whole number"
    return None


def _hint_text(key: str, value: str, quoted: bool, types: tuple[str, ...]) -> str | None:
    if "integer" in types or "number" in types:
        meant = as_number(value)
        if meant is not None and ("number" in types or meant == int(meant)):
            written = show(int(meant) if meant == int(meant) and abs(meant) < 1e15 else meant)
            reason = "the quotes make it text; " if quoted else ""
            return f"{reason}write `{key}{written}`"
    if "boolean" in types:
        truth = as_boolean(value)
        if truth is not None:
            return f"write `{key}{show(truth)}`"
        return f"write `{key}true` or `{key}false`"
    if "null" in types and value.strip().lower() in {"none", "null", "nil", "~"}:
        return f"write `{key}null`, or leave the key out"
    if "array" in types and "object" not in types:
        parts = [part.strip() for part in value.split(",")]
        return f"write it as a list: `{key}[{', '.join(parts)}]`"
    return None
