"""Reading what a server answered: a text with its figures, or what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from residency.endpoint.errors import Refused, Trouble

SHOWN = 200
"""Characters of a server's words that are passed on."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    text: str
    finish_reason: str | None = None
    """`stop`, `length` or what the server says."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, as the server counted them."""
    tokens: int | None = None
    """Tokens of the answer, as the server counted them."""


def read(data: bytes) -> dict[str, Any]:
    """A body as JSON. Raises Trouble for anything but an object, and for an error within a 200."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise Trouble(f"it answered no JSON: {shown(data)}") from None
    if not isinstance(found, dict):
        raise Trouble(f"it answered {type(found).__name__}, not an object")
    if found.get("error") and not found.get("choices"):
        raise Trouble(f"it answered an error: {message(data)}")
    return found


def message(data: bytes) -> str:
    """What a server says of an error, in one line."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return shown(data)
    for key in ("error", "message", "detail"):
        inner = found.get(key) if isinstance(found, Mapping) else None
        if isinstance(inner, Mapping):
            words = [str(inner[k]) for k in ("message", "code", "type") if inner.get(k)]
            inner = " ".join(dict.fromkeys(words))
        if inner:
            return shown(str(inner).encode())
    return shown(data)


def shown(data: bytes) -> str:
    """The beginning of a body, on one line."""
    text = " ".join(data[: 4 * SHOWN].decode("utf-8", "replace").split())
    return (text[: SHOWN - 1] + "…" if len(text) > SHOWN else text) or "(nothing)"


def chat(found: Mapping[str, Any]) -> Reply:
    """A reply of /chat/completions. A message without content (a refusal) is an empty text.

    Raises:
        Trouble: It is none.
    """
    choice = _choice(found)
    inner = choice.get("message")
    if not isinstance(inner, Mapping):
        raise Trouble("its answer has no message")
    content = inner.get("content")
    if isinstance(content, list):
        content = "".join(str(p.get("text", "")) for p in content if isinstance(p, Mapping))
    return _reply(found, choice, "" if content is None else content)


def completion(found: Mapping[str, Any]) -> Reply:
    """A reply of /completions. Raises Trouble when it is none."""
    choice = _choice(found)
    if "text" not in choice:
        raise Trouble("its answer has no text")
    return _reply(found, choice, "" if choice["text"] is None else choice["text"])


def likelihood(found: Mapping[str, Any], asked: int, weighed: int) -> tuple[float, bool]:
    """The log-likelihood of the last `weighed` of `asked` prompt tokens, and whether each was the likeliest.

    The reply is one of /completions with `echo` and `logprobs`: it has a figure for each token of
    the prompt, and perhaps for one that was generated after it.

    Raises:
        Refused: The figures are not there.
        Trouble: They are no figures.
    """
    inner = _choice(found).get("logprobs")
    values = inner.get("token_logprobs") if isinstance(inner, Mapping) else None
    if not isinstance(values, list) or len(values) < asked:
        raise Refused(
            "the server gives no log-probabilities of the prompt (`echo` with `logprobs`), which a task "
            "that weighs its choices needs",
            "evaluate it in process (`model:` without `endpoint:`), serve it with vLLM, "
            "or choose a task that is answered by generation",
        )
    places = range(asked - weighed, asked)
    chosen = [values[i] for i in places]
    if any(not isinstance(v, int | float) or math.isnan(v) for v in chosen):
        raise Trouble("its log-probabilities of the prompt are not numbers")
    assert isinstance(inner, Mapping)
    best, words = inner.get("top_logprobs"), inner.get("tokens")
    greedy = True
    for i in places:
        top = best[i] if isinstance(best, list) and i < len(best) else None
        if not isinstance(top, Mapping) or not top:
            greedy = False
        elif isinstance(words, list) and words[i] in top:
            greedy &= top[words[i]] >= max(top.values())
        else:
            greedy &= values[i] >= max(top.values())
    return float(sum(chosen)), greedy


def _choice(found: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise Trouble("its answer has no choices")
    return choices[0]


def _reply(found: Mapping[str, Any], choice: Mapping[str, Any], text: Any) -> Reply:
    if not isinstance(text, str):
        raise Trouble(f"its answer's text is {type(text).__name__}")
    usage = found.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    reason = choice.get("finish_reason")
    return Reply(
        text,
        str(reason) if reason is not None else None,
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
