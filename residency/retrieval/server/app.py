"""The routes of the retrieval server.

`POST /retrieve {"queries", "topk", "return_scores"}` has the form of Search-R1's server, which verl's
users know: `{"result": [[{"document": {…}, "score": 0.83}, …], …]}`, a list for each query, and without
scores the documents alone. `GET /health`, `/metrics`, `/document/ID`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import orjson
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from residency import http_server
from residency.retrieval.server import asked
from residency.retrieval.server.asked import Refused
from residency.retrieval.server.batcher import Batcher, Full, Results, Stopped
from residency.retrieval.server.metrics import CONTENT_TYPE, Metrics
from residency.retrieval.server.settings import Settings

RETRY_AFTER = "1"


class Searcher(Protocol):
    """What is served: an open index."""

    @property
    def count(self) -> int:
        """How many documents it holds."""

    def search(self, queries: Sequence[str], topk: int) -> Results:
        """The best documents for each query, best first."""

    def document(self, id: str, /) -> dict[str, Any] | None:
        """The document of that id, or None."""


def make(searcher: Searcher, settings: Settings) -> FastAPI:
    """The application. It starts and ends its search thread with its own life.

    Args:
        searcher: What is searched.
        settings: Bounds, batching, and which variable holds the token.
    """
    token = http_server.token_of(settings.token_env)
    metrics: Metrics
    batcher = Batcher(
        searcher.search,
        batch=settings.batch,
        wait=settings.wait_ms / 1000,
        queue=settings.queue,
        observe=lambda queries, seconds: metrics.searched(queries, seconds),
    )
    metrics = Metrics(searcher.count, lambda: batcher.waiting)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        await asyncio.to_thread(batcher.stop)

    # No schema pages: they would be read without the token.
    app = FastAPI(lifespan=life, openapi_url=None, docs_url=None, redoc_url=None)

    def answer(path: str, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        metrics.requests.labels(path, str(status)).inc()
        body = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, status, headers, "application/json")

    def refused(path: str, status: int, message: str, **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return answer(path, {"error": message}, status, named)

    def stranger(request: Request, path: str) -> Response | None:
        """The refusal of a client without the token, or None."""
        if http_server.knows(request.headers.get("authorization", ""), token):
            return None
        return refused(
            path, 401, "this server wants a token: Authorization: Bearer …", WWW_Authenticate="Bearer"
        )

    @app.post("/retrieve")
    async def retrieve(request: Request) -> Response:
        began = time.monotonic()
        path = "/retrieve"
        if said := stranger(request, path):
            return said
        try:
            search = asked.read(await http_server.read_body(request, settings.max_body), settings)
            metrics.queries.inc(len(search.queries))
            found = await batcher.submit(search.queries, search.topk, settings.timeout)
        except (Refused, http_server.BodyRefused) as error:
            return refused(path, error.status, str(error))
        except Full:
            return refused(path, 503, f"{batcher.waiting:,} queries wait already", Retry_After=RETRY_AFTER)
        except Stopped:
            return refused(path, 503, "the server is stopping", Retry_After=RETRY_AFTER)
        except TimeoutError:
            message = f"no answer within {settings.timeout:g} s"
            return refused(path, 503, message, Retry_After=RETRY_AFTER)
        except http_server.Gone:
            return Response(status_code=400)  # nobody reads it
        except Exception as error:
            print(f"search failed: {type(error).__name__}: {error}", flush=True)
            return refused(path, 500, f"the search failed: {type(error).__name__}: {error}")
        made = answer(path, {"result": [_shown(hits, search.scores) for hits in found]})
        metrics.seconds.observe(time.monotonic() - began)
        return made

    @app.get("/health")
    async def health() -> Response:
        if why := batcher.ill(settings.timeout):
            return refused("/health", 503, why)
        return answer("/health", {"status": "ok", "documents": searcher.count})

    @app.get("/metrics")
    async def told(request: Request) -> Response:
        return stranger(request, "/metrics") or Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/document/{id:path}")
    async def document(request: Request, id: str) -> Response:
        path = "/document"
        if said := stranger(request, path):
            return said
        found = await asyncio.to_thread(searcher.document, id)
        if found is None:
            return refused(path, 404, f"there is no document {id[:100]}")
        return answer(path, found)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        known = "POST /retrieve, GET /health, /metrics, /document/ID"
        message = f"{request.method} {request.url.path[:100]}: {error.detail}; there are {known}"
        return refused("other", error.status_code, message)

    return app


def _shown(hits: Sequence[Any], scores: bool) -> list[Any]:
    if not scores:
        return [hit.document for hit in hits]
    return [{"document": hit.document, "score": float(hit.score)} for hit in hits]
