"""Asks a retrieval server, as tools and commands do: with time limits, tries again, says why it failed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from residency.errors import StageFailed

TOKEN_ENV = "RESIDENCY_SEARCH_TOKEN"
"""The environment variable with the server's token, where it wants one."""
AGAIN = frozenset({408, 429, 500, 502, 503, 504})
CONNECT_SECONDS = 3.0
LONGEST_PAUSE = 8.0
_sessions = threading.local()


class SearchFailed(StageFailed, ConnectionError):
    """A look-up that failed, which is not the same as one that found nothing."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to try."""

    seconds: float = 25.0
    """All together."""
    tries: int = 8


def retrieve(
    url: str, queries: Sequence[str], topk: int | None = None, patience: Patience = Patience()
) -> list[list[dict[str, Any]]]:
    """The documents for each query: `[[{"document": {…}, "score": f}, …], …]`.

    Args:
        url: The server's address, with or without `/retrieve`.
        queries: What is looked up.
        topk: Documents for each; the server's own number when it is not given.
        patience: How long and how often to try.

    Raises:
        SearchFailed: no answer within that time, or one that says what is wrong with the request.
    """
    address = url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/retrieve"
    body: dict[str, Any] = {"queries": list(queries), "return_scores": True}
    if topk is not None:
        body["topk"] = topk
    until = time.monotonic() + patience.seconds
    said, made = "", 0
    while made < patience.tries:
        left = until - time.monotonic()
        if left <= 0:
            break
        made += 1
        wait: float | None = None
        found, said, wait = _once(address, body, left)
        if found is not None:
            return found
        pause = min(LONGEST_PAUSE, 0.25 * 2 ** (made - 1)) * random.uniform(0.5, 1.5)
        pause = max(pause, wait or 0.0)
        if made < patience.tries:
            time.sleep(max(0.0, min(pause, until - time.monotonic())))
    times = "" if made == 1 else f" ({made} tries)"
    raise SearchFailed(f"the search at {address} failed{times}: {said}")


def _once(
    address: str, body: dict[str, Any], seconds: float
) -> tuple[list[list[dict[str, Any]]] | None, str, float | None]:
    """One try: what was found, or why not, and how long the server wants to be left alone.

    Raises SearchFailed where another try would end in the same way.
    """
    import requests

    token = os.environ.get(TOKEN_ENV)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = _session().post(
            address, json=body, headers=headers, timeout=(min(CONNECT_SECONDS, seconds), seconds)
        )
        said = answer.json() if answer.ok else None
    except requests.exceptions.InvalidURL as error:
        raise SearchFailed(f"{address} is no address of a server: {error}") from error
    except requests.RequestException as error:
        return None, _reason(error), None
    if answer.ok:
        return _checked(said, len(body["queries"]), address), "", None
    why = f"{answer.status_code} {_error(answer)}".strip()
    if answer.status_code not in AGAIN:
        raise SearchFailed(f"the search at {address} was refused: {why}")
    given = answer.headers.get("Retry-After", "")
    return None, why, float(given) if given.isdecimal() else None


def _session() -> Any:
    """The thread's own session, which keeps its connection."""
    import requests

    found = getattr(_sessions, "session", None)
    if found is None or _sessions.pid != os.getpid():
        found = _sessions.session = requests.Session()
        found.trust_env = False  # never by a proxy: it is on this machine or in this cluster
        _sessions.pid = os.getpid()
    return found


def _reason(error: Exception) -> str:
    text = str(error)
    if "refused" in text.lower():
        return "nothing listens there"
    if "timed out" in text.lower():
        return "no answer in time"
    return text[:200]


def _error(answer: Any) -> str:
    try:
        said = answer.json()
        return str(said.get("error") or said.get("detail") or "")[:300]
    except (ValueError, AttributeError):
        return str(answer.text)[:200].strip()


def _checked(said: Any, count: int, address: str) -> list[list[dict[str, Any]]]:
    """The answer, in one form whether the server gave scores or not."""
    result = said.get("result") if isinstance(said, dict) else None
    if (
        not isinstance(result, list)
        or len(result) != count
        or not all(isinstance(one, list) for one in result)
    ):
        raise SearchFailed(
            f'{address} answered in another form than {{"result": [[{{"document": …, "score": …}}]]}}'
        )
    return [[_hit(hit, address) for hit in hits] for hits in result]


def _hit(hit: Any, address: str) -> dict[str, Any]:
    if isinstance(hit, dict) and isinstance(hit.get("document"), dict):
        return {"document": hit["document"], "score": float(hit.get("score") or 0.0)}
    if isinstance(hit, dict):
        return {"document": hit, "score": 0.0}
    raise SearchFailed(f"{address} gave a document that is none: {str(hit)[:80]}")
