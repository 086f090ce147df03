"""A query as a tree, as it was written: which words belong together, under which field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from residency.retrieval.boolean.fields import Field

Operator = Literal["AND", "OR", "NOT"]


@dataclass(frozen=True, slots=True)
class Term:
    """Words with a field tag, or in quotation marks, or both."""

    text: str
    quoted: bool
    field: Field | None
    """None: no tag."""
    start: int
    end: int
    noexp: bool = False
    """Without the more specific headings."""
    near: int | None = None
    """Proximity: how many words may stand between."""


@dataclass(frozen=True, slots=True)
class Words:
    """Words without a tag and without quotation marks, which PubMed maps by itself."""

    texts: tuple[str, ...]
    starts: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Range:
    """`low:high` of a field of dates or numbers."""

    low: str
    high: str
    field: Field
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Operands from left to right, with no precedence: each operator works on all that stands left of it."""

    first: Node
    rest: Sequence[tuple[Operator, Node]]
    start: int
    end: int


Node = Term | Words | Range | Chain
