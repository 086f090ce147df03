"""The routes of a model's server: OpenAI's, and `/health`, `/metrics`."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from residency import http_server
from residency.inference.decoder import Decoder
from residency.inference.model import Loaded
from residency.inference.server import answers as forms
from residency.inference.server import asked as requests
from residency.inference.server import prompts
from residency.inference.server.asked import Asked, Refused
from residency.inference.server.metrics import CONTENT_TYPE, Metrics
from residency.inference.server.settings import Settings
from residency.inference.server.worker import Answer, Full, Stopped, Worker, make_answers

RETRY_AFTER = "1"
BAD_TOKEN = {"code": "invalid_api_key"}
"""OpenAI's code for it."""
KNOWN = "POST /v1/chat/completions, /v1/completions, GET /v1/models, /health, /metrics"


def make(loaded: Loaded, settings: Settings) -> FastAPI:
    """The application. It starts and ends its decoding thread with its own life.

    Args:
        loaded: What is served.
        settings: Bounds, the model's name, and which variable holds the token.
    """
    token = http_server.token_of(settings.token_env)
    metrics: Metrics
    worker = Worker(
        Decoder(loaded.model, prefill_tokens=settings.prefill_tokens),
        batch=settings.batch,
        queue=settings.queue,
        cached=settings.cache_tokens or loaded.cached,
        prefill_tokens=settings.prefill_tokens,
        observe=lambda rows, tokens: metrics.passed(rows, tokens),
    )
    metrics = Metrics(lambda: worker.running, lambda: worker.waiting)
    # A tokenizer is used by one thread at a time: this one reads prompts, its copy writes answers.
    reading = ThreadPoolExecutor(1, thread_name_prefix="tokenize")
    writer = copy.deepcopy(loaded.tokenizer)
    vocabulary = loaded.model.get_input_embeddings().num_embeddings
    began = int(time.time())

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await asyncio.to_thread(worker.stop)
        reading.shutdown(wait=False, cancel_futures=True)

    # No schema pages: they would be read without the token.
    app = FastAPI(lifespan=life, openapi_url=None, docs_url=None, redoc_url=None)

    def say(path: str, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
        metrics.requests.labels(path, str(status)).inc()
        return Response(_json(value), status, headers, "application/json")

    def refuse(path: str, status: int, message: str, **more: Any) -> Response:
        headers = {"Retry-After": RETRY_AFTER} if status == 503 else {}
        if status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return say(path, forms.error(message, status, **more), status, headers)

    def stranger(request: Request, path: str) -> Response | None:
        """The refusal of a client without the token, or None."""
        if http_server.knows(request.headers.get("authorization", ""), token):
            return None
        return refuse(path, 401, "this server wants a token: Authorization: Bearer …", **BAD_TOKEN)

    async def generate(request: Request, path: str, read: Callable[[bytes], Asked]) -> Response:
        since = time.monotonic()
        if said := stranger(request, path):
            return said
        try:
            asked = read(await http_server.read_body(request, settings.max_body))
            _check_model(asked.model, settings)
            made = await asyncio.get_running_loop().run_in_executor(reading, _requests, asked)
            found = make_answers(
                writer, made, asked.stop, stream=asked.stream, skip=asked.skip_special_tokens
            )
            worker.submit(found)
        except (Refused, http_server.BodyRefused) as error:
            more = {"param": error.param, "code": error.code} if isinstance(error, Refused) else {}
            return refuse(path, error.status, str(error), **more)
        except http_server.Gone:
            return Response(status_code=400)  # nobody reads it
        except Full:
            return refuse(path, 503, f"{worker.waiting:,} answers wait already")
        except Stopped:
            return refuse(path, 503, "the server is stopping")
        metrics.prompt.inc(sum(len(one.prompt) for one in made[:: asked.n]))
        form = forms.Form(asked, found, settings.name, writer)
        if asked.stream:
            metrics.requests.labels(path, "200").inc()
            events = _events(request, form, found, since)
            return StreamingResponse(
                events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
            )
        with _watched(request, worker, found, metrics):
            try:
                await asyncio.wait_for(_all(found), settings.timeout)
            except TimeoutError:
                return refuse(path, 503, f"no answer within {settings.timeout:g} s")
        if error := next((one.error for one in found if one.error is not None), None):
            status, message = _failure(error)
            return refuse(path, status, message)
        seen(found, since)
        # Log-probabilities of a long prompt are slow to write down; others go on meanwhile.
        return say(path, form.whole() if asked.top is None else await asyncio.to_thread(form.whole))

    def _requests(asked: Asked) -> list[Any]:
        return prompts.make(
            asked,
            loaded.tokenizer,
            settings,
            context=loaded.context,
            stop_ids=loaded.stop_ids,
            vocabulary=vocabulary,
        )

    def seen(found: Sequence[Answer], since: float) -> None:
        metrics.seconds.observe(time.monotonic() - since)
        for answer in found:
            if answer.began is not None:
                metrics.first.observe(answer.began - answer.arrived)

    async def _events(
        request: Request, form: forms.Form, found: list[Answer], since: float
    ) -> AsyncIterator[bytes]:
        """A stream's server-sent events."""
        with _watched(request, worker, found, metrics):
            for chunk in form.first():
                yield _event(chunk)
            until = time.monotonic() + settings.timeout
            over = False
            while not over:
                over = all(answer.over for answer in found)
                error = next((one.error for one in found if one.error is not None), None)
                for chunk in form.more():
                    yield _event(chunk)
                if error is None and not over and time.monotonic() > until:
                    error = TimeoutError(f"no answer within {settings.timeout:g} s")
                if error is not None:
                    status, message = _failure(error)
                    yield _event(forms.error(message, status))
                    return
                if not over:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(found[0].news.wait(), max(0.01, until - time.monotonic()))
                    found[0].news.clear()
            for chunk in form.last():
                yield _event(chunk)
            yield b"data: [DONE]\n\n"
        seen(found, since)

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await generate(request, "/v1/completions", requests.completion)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await generate(request, "/v1/chat/completions", requests.chat)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        path = "/v1/models"
        if said := stranger(request, path):
            return said
        about = {
            "id": settings.name,
            "object": "model",
            "created": began,
            "owned_by": "residency",
            "root": settings.model,
            "max_model_len": loaded.context,
        }
        return say(path, {"object": "list", "data": [about]})

    @app.get("/health")
    async def health() -> Response:
        if not worker.alive:
            return refuse("/health", 500, "the decoding thread has ended")
        return say("/health", {"status": "ok", "model": settings.name})

    @app.get("/metrics")
    async def told(request: Request) -> Response:
        return stranger(request, "/metrics") or Response(metrics.text(), media_type=CONTENT_TYPE)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path[:100]}: {error.detail}; there are {KNOWN}"
        return refuse("other", error.status_code, message)

    return app


def _check_model(name: str | None, settings: Settings) -> None:
    if name and name not in (settings.name, settings.model):
        raise Refused(
            404,
            f"there is no model `{name[:200]}`; this server has `{settings.name}`",
            "model",
            "model_not_found",
        )


async def _all(found: Sequence[Answer]) -> None:
    """Wait until all answers are over."""
    while not all(answer.over for answer in found):
        await found[0].news.wait()
        found[0].news.clear()


@contextlib.contextmanager
def _watched(request: Request, worker: Worker, found: Sequence[Answer], metrics: Metrics) -> Iterator[None]:
    """Free the rows of the answers when the client goes away, and in any case at the end."""

    async def watch() -> None:
        while (await request.receive()).get("type") != "http.disconnect":
            pass
        if not all(answer.over for answer in found):
            metrics.gone.inc()
            worker.drop(found)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()
        worker.drop([answer for answer in found if not answer.over])


def _failure(error: Exception) -> tuple[int, str]:
    if isinstance(error, Stopped):
        return 503, "the server is stopping"
    if isinstance(error, TimeoutError):
        return 503, str(error)
    return 500, f"the generation failed: {type(error).__name__}: {error}"


def _event(value: Any) -> bytes:
    return b"data: " + _json(value) + b"\n\n"


def _json(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # a half character that a text was cut at
        import json

        return json.dumps(value).encode()
