"""What a client asks, read from a request's body: right, or refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from residency.http_server import json_of
from residency.retrieval.server.settings import Settings


class Refused(ValueError):
    """A request that cannot be answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        """The HTTP status: 400 for what cannot be read, 413 for what is too large, 422 for what is
        out of bounds."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A search."""

    queries: list[str]
    topk: int
    scores: bool


def read(body: bytes, settings: Settings) -> Asked:
    """The search in a body of `POST /retrieve`.

    An empty query is allowed and finds nothing: a model writes one among others.

    Raises:
        BodyRefused: the body is not JSON.
        Refused: with the status and a reason that the client can act on.
    """
    given = json_of(body)
    if not isinstance(given, dict):
        raise Refused(400, 'the body is not an object: send {"queries": ["…"], "topk": 3}')
    queries = given.get("queries")
    if queries is None:
        raise Refused(400, "`queries` is missing: a list of texts")
    if not isinstance(queries, list) or not all(isinstance(query, str) for query in queries):
        raise Refused(400, "`queries` must be a list of texts")
    if len(queries) > settings.max_queries:
        raise Refused(
            422, f"{len(queries):,} queries in one request; at most {settings.max_queries:,} are taken"
        )
    for at, query in enumerate(queries):
        if len(query) > settings.max_query_chars:
            raise Refused(
                422,
                f"queries[{at}] has {len(query):,} characters; "
                f"at most {settings.max_query_chars:,} are taken",
            )
    return Asked(queries, _topk(given.get("topk"), settings), _scores(given.get("return_scores")))


def _topk(given: Any, settings: Settings) -> int:
    if given is None:
        return settings.default_topk
    if not isinstance(given, int) or isinstance(given, bool):
        raise Refused(400, "`topk` must be a whole number")
    if not 1 <= given <= settings.max_topk:
        raise Refused(422, f"`topk` is {given:,}; 1 to {settings.max_topk:,} are possible")
    return given


def _scores(given: Any) -> bool:
    if given is None:
        return False
    if not isinstance(given, bool):
        raise Refused(400, "`return_scores` must be true or false")
    return given
