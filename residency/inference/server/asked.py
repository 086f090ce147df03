"""What a client asks, read from a request's body: right, or refused with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from residency.http_server import json_of
from residency.recipe.suggest import closest

MOST_TOP = 20
"""Of the likeliest tokens so many are told at most."""
MOST_STOPS, LONGEST_STOP = 64, 1000

_IRRELEVANT = frozenset(
    ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "priority",
     "request_id", "spaces_between_special_tokens", "parallel_tool_calls", "reasoning_effort", "verbosity")
)  # fmt: skip
"""Keys that change no answer here."""
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0, None),
    "frequency_penalty": (0, None),
    "logit_bias": ({}, None),
    "suffix": ("", None),
    "tools": ([], None),
    "tool_choice": ("none", "auto", None),
    "functions": ([], None),
    "response_format": ({"type": "text"}, None),
    "prompt_logprobs": (0, None),
    "modalities": (["text"], None),
    "do_sample": (None,),
}
"""Keys of OpenAI's or vLLM's that this server does not have: the values that change nothing."""


class Refused(ValueError):
    """A request that cannot be answered."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        """The key that is at fault."""
        self.code = code
        """What a program can tell it by: `context_length_exceeded`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for answers."""

    prompts: tuple[str | tuple[int, ...], ...] = ()
    """Of /v1/completions: texts, or tokens."""
    messages: tuple[dict[str, Any], ...] = ()
    """Of /v1/chat/completions."""
    model: str | None = None
    n: int = 1
    max_tokens: int | None = None
    """None: what the context leaves."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None
    top: int | None = None
    """How many of the likeliest tokens are told at each place; None: no log-probabilities."""
    echo: bool = False
    stream: bool = False
    include_usage: bool = False
    """Whether a stream ends with the counts of tokens."""
    skip_special_tokens: bool = True
    add_special_tokens: bool = True
    template: dict[str, Any] | None = None
    """What the chat template is told beside the messages."""


def completion(body: bytes) -> Asked:
    """What a body of `POST /v1/completions` asks.

    Raises:
        BodyRefused: the body is not JSON.
        Refused: with a reason that the client can act on.
    """
    given = _Given(body)
    asked = Asked(
        prompts=given.prompts("prompt"),
        **_sampling(given, otherwise=16),
        top=given.whole("logprobs", 0, MOST_TOP, None),
        echo=given.flag("echo", False),
        add_special_tokens=given.flag("add_special_tokens", True),
    )
    best_of = given.whole("best_of", 1, 10_000, None)
    if best_of not in (None, asked.n):
        raise Refused(400, "`best_of` is not supported beyond `n`", "best_of")
    given.end()
    if asked.stream and (asked.echo or asked.top is not None):
        key = "echo" if asked.echo else "logprobs"
        raise Refused(400, f"`{key}` and `stream` do not go together", key)
    if asked.max_tokens == 0 and not asked.echo:
        raise Refused(400, "`max_tokens` is 0: nothing would be answered without `echo`", "max_tokens")
    return asked


def chat(body: bytes) -> Asked:
    """What a body of `POST /v1/chat/completions` asks.

    Raises:
        BodyRefused: the body is not JSON.
        Refused: with a reason that the client can act on.
    """
    given = _Given(body)
    wanted = given.flag("logprobs", False)
    top = given.whole("top_logprobs", 0, MOST_TOP, None)
    if top is not None and not wanted:
        raise Refused(400, "`top_logprobs` needs `logprobs: true`", "top_logprobs")
    also = given.whole("max_completion_tokens", 1, 10**9, None)
    template = {
        "add_generation_prompt": given.flag("add_generation_prompt", True),
        "continue_final_message": given.flag("continue_final_message", False),
        **given.mapping("chat_template_kwargs"),
    }
    if template["continue_final_message"]:
        template["add_generation_prompt"] = False
    asked = Asked(
        messages=given.messages("messages"),
        **_sampling(given, otherwise=also),
        top=(top or 0) if wanted else None,
        template=template,
    )
    given.end()
    if asked.stream and wanted:
        raise Refused(400, "`logprobs` and `stream` do not go together", "logprobs")
    if asked.max_tokens == 0:
        raise Refused(400, "`max_tokens` is 0: nothing would be answered", "max_tokens")
    return asked


def _sampling(given: _Given, *, otherwise: int | None) -> dict[str, Any]:
    """What both requests have in common."""
    stream = given.flag("stream", False)
    options = given.mapping("stream_options")
    return {
        "model": given.text("model"),
        "n": given.whole("n", 1, 10_000, 1),
        "max_tokens": given.whole("max_tokens", 0, 10**9, otherwise),
        "temperature": given.number("temperature", 0.0, 100.0, 1.0),
        "top_p": given.number("top_p", 0.0, 1.0, 1.0, open_low=True),
        "top_k": max(0, given.whole("top_k", -1, 10**9, 0) or 0),
        "min_p": given.number("min_p", 0.0, 1.0, 0.0),
        "repetition_penalty": given.number("repetition_penalty", 0.0, 100.0, 1.0, open_low=True),
        "min_tokens": given.whole("min_tokens", 0, 10**9, 0),
        "stop": given.stops("stop"),
        "stop_token_ids": given.ids("stop_token_ids"),
        "ignore_eos": given.flag("ignore_eos", False),
        "seed": given.whole("seed", -(2**63), 2**64, None),
        "stream": stream,
        "include_usage": stream and options.get("include_usage") is True,
        "skip_special_tokens": given.flag("skip_special_tokens", True),
    }


class _Given:
    """The keys of a body. Each is read once; `end` refuses what is left over."""

    def __init__(self, body: bytes) -> None:
        found = json_of(body)
        if not isinstance(found, dict):
            raise Refused(400, "the body is not an object")
        self._left: dict[str, Any] = found
        self._known: set[str] = set()

    def _take(self, key: str) -> Any:
        self._known.add(key)
        return self._left.pop(key, None)

    def text(self, key: str) -> str | None:
        return self._typed(key, lambda v: isinstance(v, str), "a text", None)

    def flag(self, key: str, default: bool) -> bool:
        found = self._typed(key, lambda v: isinstance(v, bool), "true or false", default)
        return bool(found)

    def mapping(self, key: str) -> dict[str, Any]:
        return dict(self._typed(key, lambda v: isinstance(v, dict), "an object", {}))

    def whole(self, key: str, low: int, high: int, default: int | None) -> Any:
        value = self._typed(key, lambda v: type(v) is int, "a whole number", default)
        if value is not None and value is not default and not low <= value <= high:
            raise Refused(400, f"`{key}` is {value}; {low:,} to {high:,} are possible", key)
        return value

    def number(self, key: str, low: float, high: float, default: float, *, open_low: bool = False) -> float:
        value = float(self._typed(key, lambda v: type(v) in (int, float), "a number", default))
        if not math.isfinite(value) or not low <= value <= high or (open_low and value == low):
            raise Refused(
                400,
                f"`{key}` is {value:g}; it lies {'above' if open_low else 'from'} {low:g} to {high:g}",
                key,
            )
        return value

    def _typed(self, key: str, fits: Callable[[Any], bool], noun: str, default: Any) -> Any:
        value = self._take(key)
        if value is None:
            return default
        if not fits(value):
            raise Refused(400, f"`{key}` must be {noun}", key)
        return value

    def stops(self, key: str) -> tuple[str, ...]:
        value = self._take(key)
        found = [value] if isinstance(value, str) else value or []
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise Refused(400, f"`{key}` must be a text or a list of texts", key)
        if len(found) > MOST_STOPS or any(len(one) > LONGEST_STOP for one in found):
            raise Refused(400, f"`{key}`: at most {MOST_STOPS} of {LONGEST_STOP:,} characters are taken", key)
        return tuple(one for one in found if one)

    def ids(self, key: str) -> tuple[int, ...]:
        value = self._take(key) or []
        if not _is_tokens(value):
            raise Refused(400, f"`{key}` must be a list of whole numbers", key)
        return tuple(value)

    def prompts(self, key: str) -> tuple[str | tuple[int, ...], ...]:
        value = self._take(key)
        if value is None:
            raise Refused(400, f"`{key}` is missing", key)
        found = [value] if isinstance(value, str) or (value and _is_tokens(value)) else value
        if not isinstance(found, list) or not all(isinstance(p, str) or _is_tokens(p) for p in found):
            raise Refused(400, f"`{key}` must be a text, a list of texts, or of lists of tokens", key)
        if not found:
            raise Refused(400, f"`{key}` is empty", key)
        return tuple(p if isinstance(p, str) else tuple(p) for p in found)

    def messages(self, key: str) -> tuple[dict[str, Any], ...]:
        value = self._take(key)
        if value is None:
            raise Refused(400, f"`{key}` is missing: a list of {{role, content}}", key)
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise Refused(400, f"`{key}` must be a list of {{role, content}}", key)
        if not value:
            raise Refused(400, f"`{key}` is empty", key)
        return tuple(_message(one, f"{key}[{at}]") for at, one in enumerate(value))

    def end(self) -> None:
        """Raise Refused for a key that would change the answer and is not known."""
        for key, value in self._left.items():
            if key in _IRRELEVANT or (key in _NEUTRAL and value in _NEUTRAL[key]):
                continue
            if key in _NEUTRAL:
                raise Refused(400, f"`{key}` is not supported by this server", key)
            near = closest(key, self._known)
            raise Refused(
                400,
                f"unknown key `{key[:100]}`" + (f": did you mean `{near[0]}`?" if near else ""),
                key[:100],
            )


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in value)


def _message(given: dict[str, Any], where: str) -> dict[str, Any]:
    """A message with its content as one text."""
    role, content = given.get("role"), given.get("content")
    if not isinstance(role, str) or not role:
        raise Refused(400, f"`{where}.role` must be a text: system, user or assistant", where)
    if isinstance(content, list):
        parts = [one.get("text") if isinstance(one, dict) else None for one in content]
        if not all(
            isinstance(text, str) and one.get("type") == "text"
            for text, one in zip(parts, content, strict=True)
        ):
            raise Refused(400, f"`{where}.content`: this model reads text alone", where)
        content = "".join(str(text) for text in parts)
    if not isinstance(content, str):
        raise Refused(400, f"`{where}.content` must be a text", where)
    return {**given, "role": role, "content": content}
