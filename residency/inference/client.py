"""Talks to a server with OpenAI's API, answer by answer, as it comes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from residency.errors import Missing, StageFailed

CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 600.0
"""How long a server may say nothing."""


class ChatFailed(StageFailed):
    """A server that did not answer, or refused to."""


def base(url: str) -> str:
    """The address below which the API lies: `http://HOST:PORT/v1`."""
    plain = url.rstrip("/")
    return plain if plain.endswith("/v1") else f"{plain}/v1"


def model(url: str, token: str | None = None) -> str:
    """The first model that a server has.

    Raises:
        Missing: nothing listens there.
        ChatFailed: it answers something else.
    """
    import requests

    try:
        answer = requests.get(f"{base(url)}/models", headers=_headers(token), timeout=(CONNECT_SECONDS, 30.0))
    except requests.ConnectionError:
        raise Missing(f"no server answers at {url}", "python launch.py serve MODEL starts one") from None
    except requests.RequestException as error:
        raise ChatFailed(f"the server at {url} did not answer: {error}") from None
    _check(answer, url)
    try:
        return str(answer.json()["data"][0]["id"])
    except (ValueError, LookupError, TypeError):
        raise ChatFailed(f"what answers at {url} is no server of OpenAI's API") from None


def stream(
    url: str,
    name: str,
    messages: Sequence[Mapping[str, str]],
    sampling: Mapping[str, Any],
    token: str | None = None,
) -> Iterator[str]:
    """The pieces of an answer. Closing the iterator ends the answer.

    Args:
        url: The server's address, with or without `/v1`.
        name: The model's name.
        messages: The conversation so far.
        sampling: `temperature`, `max_tokens`, `seed`, …
        token: The server's token.

    Raises:
        ChatFailed: it refused, broke off, or did not answer.
    """
    import requests

    body = {"model": name, "messages": list(messages), "stream": True, **sampling}
    try:
        with requests.post(
            f"{base(url)}/chat/completions",
            json=body,
            headers=_headers(token),
            stream=True,
            timeout=(CONNECT_SECONDS, SILENCE_SECONDS),
        ) as answer:
            _check(answer, url)
            for line in answer.iter_lines(chunk_size=None):
                if not line.startswith(b"data:"):
                    continue
                text = line[5:].strip()
                if text == b"[DONE]":
                    return
                yield from _said(json.loads(text))
    except (requests.RequestException, ValueError) as error:
        raise ChatFailed(f"the server at {url} broke off: {error}") from None


def _said(event: Any) -> Iterator[str]:
    if "error" in event:
        raise ChatFailed(_message(event) or "the server failed")
    for choice in event.get("choices") or ():
        piece = (choice.get("delta") or {}).get("content")
        if piece:
            yield str(piece)


def _check(answer: Any, url: str) -> None:
    if answer.status_code == 200:
        return
    try:
        said = _message(answer.json())
    except ValueError:
        said = None
    said = said or str(answer.text).strip()[:200] or "it said nothing"
    hint = "name the variable that holds its token: --token-env NAME" if answer.status_code == 401 else None
    raise ChatFailed(f"the server at {url} answered {answer.status_code}: {said}", hint)


def _message(said: Any) -> str | None:
    error = said.get("error") if isinstance(said, dict) else None
    if isinstance(error, dict):
        return str(error.get("message") or "") or None
    detail = said.get("detail") if isinstance(said, dict) else None
    return str(error or detail or "") or None


def _headers(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
