"""What a query's terms mean, ready to be looked up: the leaves that `evaluate` turns into records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from residency.retrieval.boolean.syntax import Operator


@dataclass(frozen=True, slots=True)
class Text:
    """A word or a phrase in zones of the text; a word may have `*` in it."""

    words: tuple[str, ...]
    zones: int
    shown: str
    quiet: bool = False
    """That it is not found is no news: the mapping added it."""


@dataclass(frozen=True, slots=True)
class Near:
    """Words in any order, in one zone, with at most `distance` others between each and the next."""

    words: tuple[str, ...]
    zones: int
    distance: int
    shown: str


@dataclass(frozen=True, slots=True)
class Names:
    """Records that have one of these names (headings, types, journals …), as the index spells them."""

    names: tuple[str, ...]
    shown: str
    scored: tuple[str, ...] = ()
    """Words whose weight counts for relevance."""
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Matching:
    """Records that have a name which begins with `prefix` and matches `pattern` (a regular expression)."""

    kind: str
    prefix: str
    pattern: str
    shown: str
    scored: tuple[str, ...] = ()
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Days:
    """Records of a time, both ends included (YYYYMMDD)."""

    first: int
    last: int
    shown: str


@dataclass(frozen=True, slots=True)
class Pmids:
    """Records by number."""

    numbers: tuple[int, ...]
    shown: str


@dataclass(frozen=True, slots=True)
class PmidRange:
    """Records by number, both ends included."""

    first: int
    last: int
    shown: str


@dataclass(frozen=True, slots=True)
class Everything:
    """All records."""

    shown: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """No record: what the corpus has no data for, or what is no name that there is."""

    shown: str


@dataclass(frozen=True, slots=True)
class Steps:
    """Operands from left to right."""

    first: Meaning
    rest: Sequence[tuple[Operator, Meaning]]


Leaf = Text | Near | Names | Matching | Days | Pmids | PmidRange | Everything | Nothing
Meaning = Leaf | Steps


def show(meaning: Meaning, *, inside: bool = False) -> str:
    """The query that a meaning stands for, as PubMed shows a translation."""
    if not isinstance(meaning, Steps):
        return meaning.shown
    parts = [show(meaning.first, inside=True)]
    for operator, operand in meaning.rest:
        parts += [operator, show(operand, inside=True)]
    text = " ".join(parts)
    return f"({text})" if inside else text
