"""What a corpus recipe says, as typed values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from residency.errors import RecipeInvalid
from residency.pubmed.select import span

KEYS = ("pubmed", "sources", "filters", "dedupe", "sample", "jsonl")
"""The keys that are handed to the command."""
LICENCE = "NLM terms and conditions (MEDLINE/PubMed data); an abstract may be under its publisher's copyright"
MOST_FILES = 5_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_BY = {"published": "dp", "entered": "edat"}


@dataclass(frozen=True, slots=True)
class Query:
    """The `pubmed:` of a recipe."""

    query: str
    size: int | None = None
    order: str = "newest"
    """Which records are taken where `size` leaves some out: newest, relevance or random."""
    seed: int = 0
    first: str = ""
    last: str = ""
    by: str = "published"
    email: str = ""
    batch: int = 200
    tries: int | None = None
    per_second: float | None = None
    url: str = ""
    standin: Mapping[str, Any] | None = None
    """A source of records that stand in for PubMed; with `records`, only the first so many."""

    @property
    def term(self) -> str:
        """The query with its dates, in PubMed's language."""
        if not (self.first or self.last):
            return self.query
        field = _BY[self.by]
        low = "/".join(f"{n:02d}" for n in span(self.first)[0]) if self.first else "1700/01/01"
        high = "/".join(f"{n:02d}" for n in span(self.last)[1]) if self.last else "3000"
        return f'({self.query}) AND ("{low}"[{field}] : "{high}"[{field}])'


def query(config: Mapping[str, Any]) -> Query | None:
    """The recipe's query, or None."""
    value = config.get("pubmed")
    if not isinstance(value, Mapping):
        return None
    dates = value.get("dates") or {}
    known = {key: value[key] for key in Query.__dataclass_fields__ if value.get(key) is not None}
    return Query(
        **known,
        first=str(dates.get("from") or ""),
        last=str(dates.get("to") or ""),
        by=str(dates.get("by") or "published"),
    )


def sample(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """(size, seed) of the recipe's sample, or None."""
    value = config.get("sample")
    if isinstance(value, Mapping):
        return int(value["size"]), int(value.get("seed") or 0)
    return (int(value), 0) if value else None


def expand(url: str) -> list[str]:
    """The addresses that `…n{0001..1274}.xml.gz` means: each number in turn, as long as the first.

    Raises:
        RecipeInvalid: The range is empty, too long, or there are two.
    """
    found = list(_RANGE.finditer(url))
    if not found:
        return [url]
    if len(found) > 1:
        raise RecipeInvalid(f"{url} has two ranges; one is allowed")
    first, last = int(found[0][1]), int(found[0][2])
    if first > last or last - first >= MOST_FILES:
        raise RecipeInvalid(
            f"{found[0][0]} is no range of 1 to {MOST_FILES:,} files",
            "the lower number comes first: {0001..1274}",
        )
    before, after = url[: found[0].start()], url[found[0].end() :]
    width = len(found[0][1])
    return [f"{before}{n:0{width}d}{after}" for n in range(first, last + 1)]
