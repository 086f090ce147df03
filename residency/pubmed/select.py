"""Which records of a corpus are taken: by language, date, type and abstract, by chance, each text once."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_DATE = re.compile(r"(\d{4})(?:-(\d{1,2}))?(?:-(\d{1,2}))?")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Filters:
    """What a record must be."""

    languages: tuple[str, ...] = ()
    """NLM's codes (`eng`, `ger`); one of them must be the record's."""
    first: str = ""
    """The first day, month or year of publication."""
    last: str = ""
    types: tuple[str, ...] = ()
    """Publication types; the record must have one of them."""
    without_types: tuple[str, ...] = ()
    """Publication types of which it must have none."""
    abstract: bool = False
    """Only records with an abstract."""
    mesh: bool = False
    """Only records with MeSH headings."""

    @classmethod
    def of(cls, value: Mapping[str, Any] | None) -> Filters:
        """The `filters:` of a recipe."""
        value = value or {}
        dates = value.get("dates") or {}
        return cls(
            languages=tuple(text.lower() for text in _texts(value.get("languages"))),
            first=str(dates.get("from") or ""),
            last=str(dates.get("to") or ""),
            types=tuple(text.lower() for text in _texts(value.get("types"))),
            without_types=tuple(text.lower() for text in _texts(value.get("without_types"))),
            abstract=bool(value.get("abstract")),
            mesh=bool(value.get("mesh")),
        )

    def reason(self, row: Mapping[str, Any]) -> str | None:
        """Why a row is not taken, or None."""
        if self.languages and not any(text.lower() in self.languages for text in row["languages"]):
            return "another language"
        if self.first or self.last:
            if not row["date"]:
                return "no date"
            if not self._dated(row["date"]):
                return "another date"
        types = (
            {text.lower() for text in row["publication_types"]} if self.types or self.without_types else set()
        )
        if self.types and not types.intersection(self.types):
            return "another publication type"
        if types.intersection(self.without_types):
            return "an excluded publication type"
        if self.abstract and not row["abstract"]:
            return "no abstract"
        if self.mesh and not row["mesh"]:
            return "no MeSH headings"
        return None

    def _dated(self, date: str) -> bool:
        """Whether a date, as exact as it is given, may lie within the bounds."""
        low, high = span(date)
        return (not self.first or high >= span(self.first)[0]) and (
            not self.last or low <= span(self.last)[1]
        )


def span(date: str) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The first and the last day that a date (1979, 1979-06, 1979-06-01) can mean."""
    match = _DATE.match(date)
    if match is None:
        return (0, 0, 0), (9999, 12, 31)
    year, month, day = int(match[1]), match[2], match[3]
    low = (year, int(month or 1), int(day or 1))
    return low, (year, int(month or 12), int(day or 31))


def text_key(row: Mapping[str, Any]) -> int:
    """64 bits that are the same for records whose title and abstract have the same words; 0 for no words."""
    text = unicodedata.normalize("NFKC", f"{row['title']} {row['abstract']}").lower()
    words = " ".join(_WORD.findall(text))
    if not words:
        return 0
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "big") or 1


def chance(seed: int, pmid: int) -> int:
    """A number by which records are drawn: one seed draws the same, a larger draw holds the smaller."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {pmid}".encode(), digest_size=8).digest(), "big")


def drawn(pmids: Iterable[int], size: int, seed: int) -> list[int]:
    """`size` of the PMIDs by chance, ascending."""
    return sorted(sorted(set(pmids), key=lambda pmid: chance(seed, pmid))[:size])


def chosen(
    pmids: Sequence[int], keys: Sequence[int] | None, sample: tuple[int, int] | None
) -> tuple[list[bool], int, int]:
    """Which records stay once repeated texts are gone and a sample has been drawn.

    Args:
        pmids: Of all records, in order.
        keys: Their `text_key`; None to keep repeated texts.
        sample: (how many, seed), or None for all.

    Returns:
        (whether each record stays, how many repeat an earlier one's text, how many were not drawn).
    """
    import numpy as np

    keep = np.ones(len(pmids), dtype=bool)
    repeated = undrawn = 0
    if keys is not None:
        values = np.asarray(keys, dtype=np.uint64)
        order = np.argsort(values, kind="stable")
        same = (values[order][1:] == values[order][:-1]) & (values[order][1:] != 0)
        keep[order[1:][same]] = False
        repeated = int(same.sum())
    if sample is not None:
        size, seed = sample
        left = np.flatnonzero(keep)
        if len(left) > size:
            draws = np.fromiter((chance(seed, int(pmids[i])) for i in left), dtype=np.uint64, count=len(left))
            out = left[np.argsort(draws, kind="stable")[size:]]
            keep[out] = False
            undrawn = len(out)
    return keep.tolist(), repeated, undrawn


def _texts(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [] if value is None else [str(value)]
