"""Asks for what is not answered yet: of a server, or of a model in this process."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from residency.endpoint import pool
from residency.endpoint.client import Client, context_of
from residency.endpoint.errors import TooLong
from residency.endpoint.kept import Kept
from residency.endpoint.prompt import Tokenizer
from residency.engines.generate.prompt import Messages, NoPrompt, messages
from residency.engines.generate.spec import Spec, rows
from residency.processing import Report


@dataclass(frozen=True, slots=True)
class Wanted:
    """One answer that is due."""

    key: str
    row: int
    sample: int
    messages: Messages


class Answerer(Protocol):
    """What answers."""

    about: dict[str, Any]
    """What report.json says of it."""

    def answer(self, wanted: Iterator[Wanted], keep: Callable[[Wanted, dict[str, Any]], None]) -> None:
        """Answer all, handing each answer over as it comes: text, finish_reason, tokens, prompt_tokens."""


def key(row: int, sample: int, asked: Messages) -> str:
    """The name of one answer among those kept."""
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    return f"{row}-{sample}-{digest}"


def wanted(spec: Spec, kept: Kept) -> Iterator[Wanted]:
    """Every answer that is not kept, row by row."""
    for number, row in rows(spec, Report()):
        try:
            asked = messages(row, spec.prompt)
        except NoPrompt:
            continue  # counted when the outputs are written
        for sample in range(spec.sampling.n):
            name = key(number, sample, asked)
            if name not in kept.rows:
                yield Wanted(name, number, sample, asked)


class Clock:
    """Notes with each answer when it came, so that the time of all attempts can be added up."""

    def __init__(self, kept: Kept) -> None:
        self.attempt = 1 + max((row.get("attempt", 0) for row in kept.rows.values()), default=0)
        self._began = time.monotonic()

    def stamp(self) -> dict[str, Any]:
        """What is kept beside an answer."""
        return {"attempt": self.attempt, "at": round(time.monotonic() - self._began, 2)}


def seconds(kept: Kept) -> float:
    """The time that all attempts took to answer."""
    last: dict[int, float] = {}
    for row in kept.rows.values():
        attempt = row.get("attempt", 0)
        last[attempt] = max(last.get(attempt, 0.0), float(row.get("at", 0.0)))
    return round(sum(last.values()), 2)


class Server:
    """A model behind an endpoint."""

    def __init__(self, spec: Spec, client: Client, model: str, listed: dict[str, Any]) -> None:
        from residency.endpoint.client import owner_of

        assert spec.endpoint is not None
        self.spec, self.client, self.model = spec, client, model
        by_tokens = spec.endpoint.api == "completions" or (spec.endpoint.api == "auto" and bool(spec.model))
        self.tokenizer = Tokenizer(spec.model) if by_tokens and spec.model else None
        known = [spec.endpoint.context, context_of(listed, model)]
        known.append(self.tokenizer.context if self.tokenizer else None)
        self.context = next((length for length in known if length), None)
        self.about = {
            "name": owner_of(listed, model) or "OpenAI-compatible server",
            "version": client.version(),
            "url": client.endpoint.shown,
            "model": model,
            "api": "completions" if self.tokenizer else "chat",
        }

    def answer(self, wanted: Iterator[Wanted], keep: Callable[[Wanted, dict[str, Any]], None]) -> None:
        """As many at once as the recipe says."""

        def one(item: Wanted) -> None:
            keep(item, self._one(item))

        for _ in pool.each(
            wanted,
            one,
            concurrency=self.client.endpoint.concurrency,
            stop=self.client.stopped.set,
        ):
            pass

    def _one(self, item: Wanted) -> dict[str, Any]:
        how = self.spec.sampling
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": how.max_tokens,
            "temperature": how.temperature,
        }
        if how.temperature > 0:
            body["seed"] = how.seed_of(item.row, item.sample)
        body |= {k: v for k in ("top_p", "top_k") if (v := getattr(how, k)) is not None}
        if how.stop:
            body["stop"] = list(how.stop)
        body |= self.spec.extra
        try:
            if self.tokenizer is None:
                reply = self.client.chat(item.messages, body)
            else:
                tokens = self.tokenizer.encode(self.tokenizer.render(item.messages))
                if self.context is not None and len(tokens) + how.max_tokens > self.context:
                    return {"too_long": True}
                reply = self.client.complete(tokens, body)
        except TooLong:
            return {"too_long": True}
        return {
            "text": reply.text,
            "finish_reason": reply.finish_reason,
            "tokens": reply.tokens,
            "prompt_tokens": reply.prompt_tokens,
        }
