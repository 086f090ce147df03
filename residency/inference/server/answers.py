"""Answers in the form of OpenAI's API."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from residency.inference.decoder import Top
from residency.inference.server.asked import Asked
from residency.inference.server.worker import Answer


class Form:
    """How the answers of one request are written down."""

    def __init__(self, asked: Asked, answers: Sequence[Answer], model: str, tokenizer: Any) -> None:
        """Of one request's answers."""
        self._asked = asked
        self._answers = answers
        self._tokenizer = tokenizer
        self._token = _words(tokenizer)
        self._chat = bool(asked.messages)
        kind = "chat.completion" if self._chat else "text_completion"
        prefix = "chatcmpl" if self._chat else "cmpl"
        self._head = {
            "id": f"{prefix}-{uuid.uuid4().hex}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }
        self._sent = [0] * len(answers)
        self._ended = [False] * len(answers)

    def whole(self) -> dict[str, Any]:
        """All answers, when all are finished."""
        choices = [self._choice(at, answer) for at, answer in enumerate(self._answers)]
        return {**self._head, "choices": choices, "usage": self.usage()}

    def usage(self) -> dict[str, int]:
        """The counts of tokens; a prompt counts once however many answers it has."""
        prompt = sum(len(answer.request.prompt) for answer in self._answers[:: self._asked.n])
        made = (
            sum(len(answer.request.tokens) for answer in self._answers) if self._asked.max_tokens != 0 else 0
        )
        return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}

    # ---- a stream

    def first(self) -> Iterator[dict[str, Any]]:
        """The chunks that open a stream."""
        if self._chat:
            for at in range(len(self._answers)):
                yield self._chunk(at, {"role": "assistant", "content": ""})

    def more(self) -> Iterator[dict[str, Any]]:
        """The chunks for what has come since."""
        for at, answer in enumerate(self._answers):
            if self._ended[at]:
                continue
            finish, text = answer.finish, answer.shown  # in this order: the thread sets `finish` last
            new = text[self._sent[at] :]
            self._sent[at] = len(text)
            if new:
                yield self._chunk(at, {"content": new} if self._chat else new)
            if finish is not None:
                self._ended[at] = True
                yield self._chunk(at, {} if self._chat else "", finish)

    def last(self) -> Iterator[dict[str, Any]]:
        """The chunk that closes a stream, where it was asked for."""
        if self._asked.include_usage:
            yield {**self._head, "object": self._streamed, "choices": [], "usage": self.usage()}

    @property
    def _streamed(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _chunk(self, at: int, said: Any, finish: str | None = None) -> dict[str, Any]:
        key = "delta" if self._chat else "text"
        choice = {"index": at, key: said, "logprobs": None, "finish_reason": finish}
        return {**self._head, "object": self._streamed, "choices": [choice]}

    # ---- whole answers

    def _choice(self, at: int, answer: Answer) -> dict[str, Any]:
        scored_only = self._asked.max_tokens == 0
        finish = "length" if scored_only else answer.finish
        if self._chat:
            message = {"role": "assistant", "content": answer.shown}
            told = self._chat_logprobs(answer) if self._asked.top is not None else None
            return {"index": at, "message": message, "logprobs": told, "finish_reason": finish}
        text = "" if scored_only else answer.shown
        if self._asked.echo:
            text = self._prompt(at, answer) + text
        logprobs = self._logprobs(answer) if self._asked.top is not None else None
        return {"index": at, "text": text, "logprobs": logprobs, "finish_reason": finish}

    def _prompt(self, at: int, answer: Answer) -> str:
        given = self._asked.prompts[at // self._asked.n]
        if isinstance(given, str):
            return given
        return str(self._tokenizer.decode(answer.request.prompt))

    def _logprobs(self, answer: Answer) -> dict[str, Any]:
        """Token for token, the prompt's first where it is echoed; its very first has none."""
        request = answer.request
        made = len(request.tokens) if self._asked.max_tokens != 0 else 0
        tokens = list(request.tokens[:made])
        values: list[float | None] = list(request.log_probs[:made])
        tops: list[Top | None] = list(request.tops[:made])
        if self._asked.echo:
            tokens = [*request.prompt, *tokens]
            values = [None, *request.prompt_log_probs, *values]
            tops = [None, *request.prompt_tops, *tops]
        words = [self._token(token) for token in tokens]
        offsets = [0]
        for word in words[:-1]:
            offsets.append(offsets[-1] + len(word))
        return {
            "tokens": words,
            "token_logprobs": values,
            "top_logprobs": [top if top is None else self._named(top) for top in tops],
            "text_offset": offsets[: len(words)],
        }

    def _named(self, top: Top) -> dict[str, float]:
        found: dict[str, float] = {}
        for token, log_prob in top:
            found.setdefault(self._token(token), log_prob)  # of two with one spelling the likelier
        return found

    def _chat_logprobs(self, answer: Answer) -> dict[str, Any]:
        request = answer.request
        content = []
        for token, value, top in zip(request.tokens, request.log_probs, request.tops, strict=True):
            content.append({**self._one(token, value), "top_logprobs": [self._one(t, v) for t, v in top]})
        return {"content": content, "refusal": None}

    def _one(self, token: int, log_prob: float) -> dict[str, Any]:
        word = self._token(token)
        return {"token": word, "logprob": log_prob, "bytes": list(word.encode(errors="replace"))}


def _words(tokenizer: Any) -> Callable[[int], str]:
    """What one token says."""

    @functools.cache
    def word(token: int) -> str:
        return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))

    return word


def error(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's form."""
    kinds = {
        401: "authentication_error",
        404: "not_found_error",
        500: "server_error",
        503: "overloaded_error",
    }
    kind = kinds.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
