"""Study search over an index on this disk."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np

from residency.retrieval.boolean import dates, order
from residency.retrieval.boolean.engine import Found, QueryRejected, Sort
from residency.retrieval.boolean.evaluate import Evaluator
from residency.retrieval.boolean.index import Index
from residency.retrieval.boolean.meaning import Steps, show
from residency.retrieval.boolean.parser import parse
from residency.retrieval.boolean.translate import Translator, days_between

FIRST, LAST = 101, 99991231


class LocalSearch:
    """Searches one index. It only reads: any number of processes may have the same one open."""

    def __init__(self, index: Index, *, today: date | None = None, strict: bool = False) -> None:
        self.index = index
        self.today = today
        self.strict = strict

    @classmethod
    def open(
        cls, folder: Path | str, *, today: date | None = None, strict: bool = False, verify: bool = False
    ) -> LocalSearch:
        """Open the index in a folder.

        Args:
            folder: What `residency.retrieval.boolean.build.build` made.
            today: The day from which `last 5 years` counts; None: the day of the search.
            strict: Reject what PubMed would pass over with a warning: a `*` after fewer than four
                letters, proximity with a `*` or with one word.
            verify: Read all files and compare their hashes first.

        Raises:
            Missing: There is no index, or it is damaged or of another form.
        """
        return cls(Index(Path(folder), verify=verify), today=today, strict=strict)

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

        Raises:
            QueryRejected: The query is wrong.
            ValueError: Another argument is.
        """
        if retmax < 0:
            raise ValueError(f"retmax is {retmax}; it is 0 or more")
        if sort not in ("relevance", "date"):
            raise ValueError(f"sort is {sort!r}; it is `relevance` or `date`")
        limits = _limits(mindate, maxdate)
        tree, warnings = parse(query)
        translator = Translator(self.index, query, today=self.today or date.today(), strict=self.strict)
        meaning = translator.translate(tree)
        if meaning is None:
            raise QueryRejected(
                "nothing is left to search for", 0, query, "; ".join(translator.warnings) or None
            )
        if limits is not None:
            meaning = Steps(meaning, [("AND", days_between(*limits))])
        evaluator = Evaluator(self.index)
        matches = np.flatnonzero(evaluator.records(meaning))
        if retmax == 0:
            best = matches[:0]
        elif sort == "date":
            best = order.by_date(self.index, matches, retmax)
        else:
            best = order.by_relevance(self.index, matches, meaning, retmax)
        said = [*warnings, *translator.warnings, *(f"not found: {text}" for text in evaluator.missing)]
        return Found(
            count=len(matches),
            pmids=tuple(map(str, self.index.pmids[best].tolist())),
            translation=show(meaning),
            warnings=tuple(dict.fromkeys(said)),
        )


def _limits(mindate: str | None, maxdate: str | None) -> tuple[int, int] | None:
    if mindate is None and maxdate is None:
        return None
    found = []
    for name, text, other in (("mindate", mindate, FIRST), ("maxdate", maxdate, LAST)):
        span = (other, other) if text is None else dates.span(text)
        if span is None:
            raise ValueError(f"{name} is {text!r}; it is YYYY, YYYY/MM or YYYY/MM/DD")
        found.append(span)
    return found[0][0], found[1][1]
