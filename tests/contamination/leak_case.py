"""Rows for the tests of leaks: questions made of words that stand in no other row."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from residency.contamination.rows import RowSet

SYLLABLES = (
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "la",
    "me",
    "ni",
    "po",
    "ru",
    "sa",
    "te",
    "vi",
    "kra",
    "ple",
    "stri",
)


def word(chance: random.Random) -> str:
    return "".join(chance.choices(SYLLABLES, k=chance.randint(1, 3)))


def sentence(chance: random.Random, words: int) -> str:
    return " ".join(word(chance) for _ in range(words)).capitalize()


def alpaca(chance: random.Random, *, words: int = 16, context: int = 60) -> dict[str, Any]:
    """A question with an instruction that all rows share, and an abstract."""
    return {
        "system": "You answer questions about medicine from the abstracts of studies, and you are brief.",
        "instruction": f"{sentence(chance, words)}? Answer with one word, and let it be yes or no or maybe.",
        "input": sentence(chance, context),
        "output": "<answer>yes</answer>",
    }


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def row_set(name: str, path: Path, rows: Iterable[Mapping[str, Any]]) -> RowSet:
    return RowSet(name, (write(path, rows),))


def disguised(text: str, chance: random.Random) -> str:
    """The same words in another case, with other spaces, punctuation and Unicode forms."""
    way = chance.randrange(5)
    if way == 0:
        return text.upper().replace(" ", "  \n\t")
    if way == 1:
        return "".join(c for c in text if c.isalnum() or c == " ").replace(" ", ", ")
    if way == 2:
        return "".join(chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in text)
    if way == 3:
        return "\u200b".join(text.swapcase()).replace("?", "\u2026 \u00bb")
    return "-".join(text.split())
