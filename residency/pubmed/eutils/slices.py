"""All PMIDs of a query, also of one that finds more than the 9,999 that a search gives.

A result that is too large is divided by the day on which PubMed took its records in (every record
has exactly one), halving a span of days until each part fits; a single day that is still too large is
divided by PMID. The counts of the two halves must add up to that of the whole; where they do not,
they are asked for anew, and in the end the span is divided by PMID instead, which cannot overlap.

Every answer is written down, so that a search that was interrupted goes on where it stopped. The
last day is fixed when it begins, yesterday if nothing else is said: today's records are still coming in.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from residency.errors import StageFailed
from residency.files import read_json, write_json
from residency.pubmed.eutils import CAP
from residency.pubmed.eutils.replies import Search

FIRST_DAY = datetime.date(1780, 1, 1)
"""PubMed's oldest records are of 1781."""
HIGHEST_PMID = 2**31 - 1
ROUNDS = 4
"""How often counts that do not add up are asked for."""


class Searcher(Protocol):
    """What is needed of a client."""

    def search(
        self, term: str, *, retstart: int = 0, retmax: int = CAP, sort: str = "", window: Any = None
    ) -> Search:
        """What a query finds."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Records entered from one day to another, with PMIDs from one to another."""

    first: datetime.date
    last: datetime.date
    low: int = 1
    high: int = HIGHEST_PMID

    @property
    def window(self) -> tuple[str, str]:
        """The days as ESearch wants them."""
        return f"{self.first:%Y/%m/%d}", f"{self.last:%Y/%m/%d}"

    @property
    def by_pmid(self) -> bool:
        """Whether it is bounded by PMIDs."""
        return self.low > 1 or self.high < HIGHEST_PMID

    def term(self, query: str) -> str:
        """The query within the PMIDs."""
        return f"({query}) AND {self.low}:{self.high}[uid]" if self.by_pmid else query

    def days(self) -> tuple[Slice, Slice] | None:
        """The earlier and the later half; None for a single day."""
        span = (self.last - self.first).days
        if not span:
            return None
        middle = self.first + datetime.timedelta(days=span // 2)
        after = middle + datetime.timedelta(days=1)
        return Slice(self.first, middle, self.low, self.high), Slice(after, self.last, self.low, self.high)

    def pmids(self) -> tuple[Slice, Slice]:
        """The lower and the higher half of the PMIDs."""
        middle = (self.low + self.high) // 2
        return Slice(self.first, self.last, self.low, middle), Slice(
            self.first, self.last, middle + 1, self.high
        )

    def __str__(self) -> str:
        days = "–".join(dict.fromkeys(self.window))
        return f"{days}, PMID {self.low}–{self.high}" if self.by_pmid else days


@dataclass
class Slicer:
    """Finds the PMIDs of one query."""

    client: Searcher
    query: str
    folder: Path
    """Where the answers are written down."""
    tell: Callable[[str], None] = lambda text: None
    last_day: datetime.date | None = None
    cap: int = CAP
    searches: int = field(default=0, init=False)
    """Searches that were sent."""
    said: Search | None = field(default=None, init=False)
    """What PubMed said of the whole query."""
    _known: dict[str, Search] = field(default_factory=dict, init=False)
    _highest: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        plan = read_json(self.folder / "plan.json")
        if not isinstance(plan, dict) or plan.get("query") != self.query:
            (self.folder / "searches.jsonl").unlink(missing_ok=True)
            yesterday = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=1)
            plan = {"query": self.query, "last_day": (self.last_day or yesterday).isoformat()}
            write_json(self.folder / "plan.json", plan)
        self.last_day = datetime.date.fromisoformat(plan["last_day"])
        self._load()

    def ids(self) -> Iterator[int]:
        """Every PMID: the slices of the last days first, in each the highest PMID first.

        Raises:
            Missing: The server cannot be reached, or refuses the query.
            StageFailed: Counts do not add up, however often they are asked for.
        """
        assert self.last_day is not None
        whole = Slice(FIRST_DAY, self.last_day)
        self.said = self._search(whole)
        yield from self._walk(whole, self.said)

    def relevant(self, size: int) -> list[int]:
        """The `size` PMIDs that PubMed thinks most relevant; at most 9,999."""
        assert self.last_day is not None
        whole = Slice(FIRST_DAY, self.last_day)
        key = f"relevance {size}"
        if key not in self._known:
            found = self.client.search(self.query, retmax=size, sort="relevance", window=whole.window)
            self._note(key, found)
        self.said = self._known[key]
        return list(self.said.ids)

    def _walk(self, part: Slice, found: Search) -> Iterator[int]:
        """The PMIDs of a slice of which the count is known."""
        if found.count <= self.cap:
            yield from sorted(found.ids, reverse=True)
            return
        self.tell(f"{part}: {found.count:,} records, to be divided")
        earlier, later = self._divided(part, found)
        yield from self._walk(*later)
        yield from self._walk(*earlier)

    def _divided(self, part: Slice, found: Search) -> tuple[tuple[Slice, Search], tuple[Slice, Search]]:
        """Two halves with what each holds; their counts add up."""
        self._highest = max(self._highest, *found.ids, 0)
        by_days = None if part.by_pmid else part.days()
        for halves in (by_days, None) if by_days else (None,):
            low, high = halves or self._bounded(part).pmids()
            for again in range(ROUNDS):
                one, two = self._search(low, anew=again > 0), self._search(high, anew=again > 0)
                whole = self._search(part, anew=True) if again else found
                if one.count + two.count == whole.count:
                    return (low, one), (high, two)
                self.tell(
                    f"{part}: {whole.count:,} records, but {one.count:,} and {two.count:,} in its halves"
                )
        raise StageFailed(
            f"the counts of {part} do not add up: {one.count:,} and {two.count:,} of {whole.count:,}",
            "PubMed may be taking records in: run the same command again later; what was found is kept",
        )

    def _bounded(self, part: Slice) -> Slice:
        """The slice, its upper PMID near the highest that has been met, when nothing lies beyond."""
        if part.high < HIGHEST_PMID:
            return part
        high = max(self._highest, 1)
        beyond = Slice(part.first, part.last, high + 1, HIGHEST_PMID)
        if self._search(beyond).count:
            return part
        return Slice(part.first, part.last, part.low, high)

    def _search(self, part: Slice, *, anew: bool = False) -> Search:
        key = f"{part.window[0]} {part.window[1]} {part.low} {part.high}"
        if key in self._known and not anew:
            return self._known[key]
        found = self.client.search(part.term(self.query), retmax=self.cap, window=part.window)
        self._note(key, found)
        return found

    def _note(self, key: str, found: Search) -> None:
        self.searches += 1
        self._known[key] = found
        row = {"key": key, "count": found.count, "ids": list(found.ids)}
        row |= {"translation": found.translation, "warnings": list(found.warnings)}
        with (self.folder / "searches.jsonl").open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")

    def _load(self) -> None:
        """The answers of an earlier attempt; a line that was cut off does not count."""
        try:
            text = (self.folder / "searches.jsonl").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        for line in text.split("\n"):
            try:
                row = json.loads(line)
                found = Search(row["count"], tuple(row["ids"]), row["translation"], tuple(row["warnings"]))
                self._known[row["key"]] = found
            except (ValueError, KeyError, TypeError):
                continue
