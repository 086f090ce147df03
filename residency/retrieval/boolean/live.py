"""Study search in PubMed itself, through the E-utilities.

Queries are read by the same parser first, so that one that is wrong is refused with its place and costs
no request. Requests go by POST, under the limit that all processes of this machine keep together.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from residency.errors import Missing
from residency.paths import cache_dir, mirror_dir
from residency.pubmed.eutils import CAP, replies
from residency.pubmed.eutils.client import Client, no_network
from residency.retrieval.boolean import dates
from residency.retrieval.boolean.engine import Found, QueryRejected, SearchUnavailable, Sort
from residency.retrieval.boolean.parser import parse
from residency.sources.patience import Patience

LIMITS = "eutils/limits"
"""The folder of the limit, in the download cache."""
ORDER = {"relevance": "relevance", "date": "pub_date"}
_PATIENCE = Patience(connect=10.0, read=30.0, whole=60.0, tries=4, longest_wait=20.0, longest_asked=60.0)
_BEGIN, _END = "1700/01/01", "3000/12/31"


class LiveSearch:
    """Searches PubMed. Threads and processes may each have one; they share the limit."""

    def __init__(
        self,
        *,
        email: str = "",
        url: str = "",
        limits: Path | None = None,
        patience: Patience = _PATIENCE,
        per_second: float | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            email: NCBI wants to know whom to write to before it blocks an address. The key comes from
                `NCBI_API_KEY`.
            url: Where the programs lie; else `RESIDENCY_EUTILS_URL`, else NCBI.
            limits: The folder of the shared limit; else in the download cache.
            patience: Time limits, and how often to ask.
            per_second: Requests a second; None for what NCBI allows, with a key or without.
        """
        folder = limits or cache_dir() / LIMITS
        self.client = Client(folder, url=url, email=email, patience=patience, per_second=per_second)

    def search(
        self,
        query: str,
        *,
        retmax: int = 100,
        sort: Sort = "relevance",
        mindate: str | None = None,
        maxdate: str | None = None,
    ) -> Found:
        """The records that match (`residency.retrieval.boolean.engine.StudySearch`).

        At most 9,999 PMIDs come, whatever `retmax`: PubMed gives no more.

        Raises:
            QueryRejected: The query is wrong, by our parser or by what PubMed says.
            SearchUnavailable: PubMed could not be asked, or gave no sound answer.
            ValueError: Another argument is wrong.
        """
        if retmax < 0:
            raise ValueError(f"retmax is {retmax}; it is 0 or more")
        if sort not in ORDER:
            raise ValueError(f"sort is {sort!r}; it is `relevance` or `date`")
        asked: dict[str, Any] = {
            "term": query,
            "retmode": "json",
            "retstart": 0,
            "retmax": min(retmax, CAP),
            "sort": ORDER[sort],
        }
        if mindate is not None or maxdate is not None:
            asked |= {"datetype": "pdat", "mindate": mindate or _BEGIN, "maxdate": maxdate or _END}
            for name in ("mindate", "maxdate"):
                if dates.span(asked[name]) is None:
                    raise ValueError(f"{name} is {asked[name]!r}; it is YYYY, YYYY/MM or YYYY/MM/DD")
                asked[name] = asked[name].strip().replace("-", "/").replace(".", "/")
        parse(query)
        barred = no_network(self.client.url, mirror_dir())
        if barred is not None:
            raise SearchUnavailable(barred.message, barred.hint)
        try:
            found = self.client.ask("esearch", asked, lambda content: _read(content, query, asked["retmax"]))
        except Missing as error:
            raise SearchUnavailable(error.message, error.hint) from None
        return Found(found.count, tuple(map(str, found.ids)), found.translation, found.warnings)


def _read(content: bytes, query: str, retmax: int) -> replies.Search:
    """An answer of ESearch. What it says against the query is the query's fault; the rest is the server's.

    Raises:
        QueryRejected: PubMed does not take the query.
    """
    try:
        result = json.loads(content, strict=False).get("esearchresult")
    except (ValueError, UnicodeDecodeError, AttributeError, RecursionError):
        result = None
    if isinstance(result, dict) and _against_the_query(str(result.get("ERROR") or "")):
        raise QueryRejected(f"PubMed says: {' '.join(str(result['ERROR']).split())[:200]}", 0, query)
    return replies.search(content, 0, retmax, CAP)


def _against_the_query(text: str) -> bool:
    """Whether an error speaks of the query: a server in trouble speaks of its backend, limits or database."""
    said = text.lower()
    return any(mark in said for mark in ("query", "term", "syntax", "parenthes", "too long")) and not any(
        mark in said for mark in ("backend", "limit", "api key", "database", "time", "unable", "exception")
    )
