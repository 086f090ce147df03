"""Evidence for questions, looked up at a retrieval server while the data is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from residency.errors import RecipeInvalid
from residency.processing import Field, Positive, Report, Row, gives
from residency.retrieval.client import Patience
from residency.retrieval.client import retrieve as ask

LONGEST_QUERY = 2_000
"""Characters of a question that are looked up."""


@gives("context", "evidence", keeps=True)
def retrieve(
    rows: Iterator[Row],
    *,
    url: str = "",
    topk: Positive = 5,
    field: Field = "question",
    options: bool = False,
    batch: Positive = 32,
    seconds: Positive = 120,
    report: Report | None = None,
) -> Iterator[Row]:
    """Put `context`, the documents that a search finds for the row, and `evidence`, their ids.

    The documents are in the order of their scores. A search that fails fails the stage; a question for
    which nothing is found keeps an empty `context` and is counted.

    Args:
        rows: Rows with a question.
        url: The retrieval server: `${services.retriever.url}`.
        topk: Documents for each.
        field: The field that is looked up.
        options: Look up the options' texts with it.
        batch: Questions a request.
        seconds: How long one request may try.
        report: How many rows found nothing.

    Raises:
        RecipeInvalid: No server is named.
        SearchFailed: It did not answer in time, or refused.
    """
    report = report or Report()
    if not url:
        raise RecipeInvalid(
            "processors.evidence.retrieve has no server to ask", "args: {url: ${services.retriever.url}}"
        )
    waiting: list[Row] = []
    for row in rows:
        report.read += 1
        waiting.append(row)
        if len(waiting) == batch:
            yield from _found(waiting, url, topk, field, options, seconds, report)
            waiting = []
    if waiting:
        yield from _found(waiting, url, topk, field, options, seconds, report)


def _found(
    rows: list[Row], url: str, topk: int, field: str, options: bool, seconds: int, report: Report
) -> Iterator[Row]:
    queries = [_query(row, field, options) for row in rows]
    asked = list(dict.fromkeys(query for query in queries if query))
    hits = ask(url, asked, topk, Patience(seconds=float(seconds))) if asked else []
    by_query = dict(zip(asked, hits, strict=True))
    for row, query in zip(rows, queries, strict=True):
        documents = [hit["document"] for hit in by_query.get(query, [])]
        if not documents:
            report.notes["rows without evidence"] = report.notes.get("rows without evidence", 0) + 1
        report.kept += 1
        yield {
            **row,
            "context": [_text(one) for one in documents],
            "evidence": [_id(one) for one in documents],
        }


def _query(row: Row, field: str, options: bool) -> str:
    parts: list[Any] = [row.get(field) or ""]
    if options and isinstance(row.get("options"), dict):
        parts += row["options"].values()
    return " ".join(" ".join(map(str, parts)).split())[:LONGEST_QUERY]


def _text(document: dict[str, Any]) -> str:
    contents = document.get("contents")
    if isinstance(contents, str) and contents.strip():
        return contents.strip()
    return "\n".join(str(document[key]) for key in ("title", "text", "abstract") if document.get(key))


def _id(document: dict[str, Any]) -> str:
    return str(document.get("pmid") or document.get("id") or "")
